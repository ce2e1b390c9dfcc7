/* The inputs that a window sees, side by side. */
#ifndef EK_PATCH_H
#define EK_PATCH_H

#include "ek_compiler.h"
#include "ek_window.h"

EK_INLINE int8_t *ek_fill_bytes(int8_t value, int32_t count, int8_t *to) {
    for (int32_t i = 0; i < count; i++) {
        *to++ = value;
    }
    return to;
}

EK_INLINE int8_t *ek_copy_bytes(const int8_t *from, int32_t count, int8_t *to) {
#if EK_WORDS_ANYWHERE
    for (; count >= 4; count -= 4) {
        __builtin_memcpy(to, from, 4);
        from += 4;
        to += 4;
    }
#endif
    for (int32_t i = 0; i < count; i++) {
        *to++ = *from++;
    }
    return to;
}

/* The same for a row that is copied over and over: words to its end, the last of them again. */
EK_INLINE int8_t *ek_copy_row(const int8_t *from, int32_t count, int8_t *to) {
#if EK_WORDS_ANYWHERE
    if (count >= 4) {
        int8_t *const end = to + count;
        const int8_t *const last = from + count - 4;
        while (from < last) {
            __builtin_memcpy(to, from, 4);
            from += 4;
            to += 4;
        }
        __builtin_memcpy(end - 4, last, 4);
        return end;
    }
#endif
    return ek_copy_bytes(from, count, to);
}

/* kernel_height * kernel_width * channels bytes; taps outside the input are `zero`. */
EK_INLINE void ek_patch(const ek_window *w, int32_t channels, int8_t zero, const int8_t *input,
                        const ek_place *at, int8_t *patch) {
    const int32_t taps = at->columns.end - at->columns.first;
    const int32_t step = w->dilation_width == 1 ? taps : 1;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < at->rows.first || ky >= at->rows.end) {
            patch = ek_fill_bytes(zero, w->kernel_width * channels, patch);
            continue;
        }
        patch = ek_fill_bytes(zero, at->columns.first * channels, patch);
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx += step) {
            const int8_t *const pixel = input + ek_pixel(w, at, ky, kx) * channels;
            patch = ek_copy_bytes(pixel, step * channels, patch);
        }
        patch = ek_fill_bytes(zero, (w->kernel_width - at->columns.end) * channels, patch);
    }
}

#endif

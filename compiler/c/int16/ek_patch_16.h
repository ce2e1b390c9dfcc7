/* The inputs that a window sees, side by side; taps outside the input are 0. */
#ifndef EK_PATCH_16_H
#define EK_PATCH_16_H

#include "ek_compiler.h"
#include "ek_window.h"

EK_INLINE int16_t *ek_zeros_16(int32_t count, int16_t *to) {
    for (int32_t i = 0; i < count; i++) {
        *to++ = 0;
    }
    return to;
}

EK_INLINE int16_t *ek_copy_16(const int16_t *from, int32_t count, int16_t *to) {
    for (int32_t i = 0; i < count; i++) {
        *to++ = *from++;
    }
    return to;
}

/* `channels` of each pixel, which has `pixel_size`. */
EK_INLINE void ek_patch_16(const ek_window *w, int32_t channels, int32_t pixel_size,
                           const int16_t *input, const ek_place *at, int16_t *patch) {
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < at->rows.first || ky >= at->rows.end) {
            patch = ek_zeros_16(w->kernel_width * channels, patch);
            continue;
        }
        patch = ek_zeros_16(at->columns.first * channels, patch);
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx++) {
            const int16_t *const pixel = input + ek_pixel(w, at, ky, kx) * pixel_size;
            patch = ek_copy_16(pixel, channels, patch);
        }
        patch = ek_zeros_16((w->kernel_width - at->columns.end) * channels, patch);
    }
}

#endif

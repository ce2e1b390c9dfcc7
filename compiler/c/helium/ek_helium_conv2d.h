/* Convolutions of any window: a patch is gathered as a column, then multiplied. */
#ifndef EK_HELIUM_CONV2D_H
#define EK_HELIUM_CONV2D_H

#include "ek_helium_matrix.h"
#include "ek_spans.h"
#include "ek_window.h"

/* Rows of the window `at`, each with zero points before and after what lies inside the input. */
EK_INLINE void ek_helium_gather(const ek_conv2d_params *p, const int8_t *input, const ek_place *at,
                                int8_t *column) {
    const ek_window *w = &p->window;
    const int32_t channels = p->in_channels, zero = p->input_zero_point;
    const int32_t taps = at->columns.end - at->columns.first;
    const int32_t step = w->dilation_width == 1 ? taps : 1;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < at->rows.first || ky >= at->rows.end) {
            column = ek_fill_span(zero, w->kernel_width * channels, column);
            continue;
        }
        column = ek_fill_span(zero, at->columns.first * channels, column);
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx += step) {
            const int8_t *const pixel = input + ek_pixel(w, at, ky, kx) * channels;
            column = ek_copy_span(pixel, step * channels, column);
        }
        column = ek_fill_span(zero, (w->kernel_width - at->columns.end) * channels, column);
    }
}

/* Whether `reach` places from `start` on are all within `size`. */
EK_INLINE int ek_all_inside(int32_t start, int32_t reach, int32_t size) {
    return start >= 0 && start + reach <= size;
}

/* A window that lies inside the input with the pixels of a row side by side: `rows` of `row_bytes`
 * bytes, `stride` apart. */
EK_INLINE void ek_helium_gather_whole(const int8_t *from, int32_t rows, int32_t row_bytes,
                                      int32_t stride, int8_t *column) {
    for (; rows > 0; rows--) {
        column = ek_copy_span(from, row_bytes, column);
        from += stride;
    }
}

/* scratch: a column, `taps` bytes. */
EK_INLINE void ek_helium_conv2d(const ek_conv2d_params *p, const int8_t *input, int8_t *output,
                                void *scratch, ek_rounder round) {
    const ek_helium_matrix matrix = ek_helium_matrix_of(p);
    const ek_window w = p->window;
    const int32_t pixel_bytes = p->in_channels, row_bytes = w.in_width * pixel_bytes;
    const int32_t reach = (w.kernel_height - 1) * w.dilation_height + 1;
    for (int32_t y = 0; y < w.out_height; y++) {
        const int32_t row = y * w.stride_height - w.pad_top;
        const int plain = w.dilation_width == 1 && ek_all_inside(row, reach, w.in_height);
        int32_t column = -w.pad_left;
        for (int32_t x = 0; x < w.out_width; x++) {
            if (plain && ek_all_inside(column, w.kernel_width, w.in_width)) {
                const int8_t *const from = input + row * row_bytes + column * pixel_bytes;
                ek_helium_gather_whole(from, w.kernel_height, w.kernel_width * pixel_bytes,
                                       w.dilation_height * row_bytes, scratch);
            } else {
                const ek_place at = ek_place_at(&w, y, x);
                ek_helium_gather(p, input, &at, scratch);
            }
            ek_helium_multiply(&matrix, scratch, output, round);
            output += matrix.channels;
            column += w.stride_width;
        }
    }
}

#endif

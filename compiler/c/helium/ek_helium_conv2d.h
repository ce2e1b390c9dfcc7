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

/* Whether all of a window's pixels lie inside the input, those of a row side by side. */
EK_INLINE int ek_is_whole(const ek_window *w, const ek_place *at) {
    return at->rows.first == 0 && at->rows.end == w->kernel_height && at->columns.first == 0 &&
           at->columns.end == w->kernel_width && w->dilation_width == 1;
}

/* The same for such a window: `rows` of `row_bytes` bytes, `stride` apart. */
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
    const ek_window window = p->window, *const w = &window;
    const int32_t channels = p->in_channels;
    for (int32_t y = 0; y < w->out_height; y++) {
        for (int32_t x = 0; x < w->out_width; x++) {
            const ek_place at = ek_place_at(w, y, x);
            if (ek_is_whole(w, &at)) {
                ek_helium_gather_whole(input + ek_pixel(w, &at, 0, 0) * channels,
                                       w->kernel_height, w->kernel_width * channels,
                                       w->dilation_height * w->in_width * channels, scratch);
            } else {
                ek_helium_gather(p, input, &at, scratch);
            }
            ek_helium_multiply(&matrix, scratch, output, round);
            output += matrix.channels;
        }
    }
}

#endif

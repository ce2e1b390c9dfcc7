/* Convolutions of any window: a patch is gathered as a column, then multiplied. */
#ifndef EK_HELIUM_CONV2D_H
#define EK_HELIUM_CONV2D_H

#include "ek_helium_matrix.h"
#include "ek_patch.h"
#include "ek_spans.h"

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
                ek_patch(&w, pixel_bytes, (int8_t)p->input_zero_point, input, &at, scratch);
            }
            ek_helium_multiply(&matrix, scratch, output, round);
            output += matrix.channels;
            column += w.stride_width;
        }
    }
}

#endif

/* Convolutions of any window: four patches are gathered as columns, then multiplied. */
#ifndef EK_DSP_CONV2D_H
#define EK_DSP_CONV2D_H

#include "ek_matrix.h"
#include "ek_patch.h"

EK_INLINE uint32_t *ek_fill(uint32_t word, int32_t count, uint32_t *column, int32_t stride) {
    for (int32_t i = 0; i < count; i++) {
        *column = word;
        column += stride;
    }
    return column;
}

/* The window at a place as a column whose words are `stride` apart. in_channels is a multiple of
 * 4, so that pixels are whole words; columns outside the input hold its zero point. */
EK_INLINE void ek_gather_words(const ek_dsp_conv2d_params *p, const int8_t *input, const ek_place *at,
                               uint32_t *column, int32_t stride) {
    const ek_window *w = &p->window;
    const int32_t words = p->in_channels / 2;
    const uint32_t half = (uint32_t)p->input_zero_point & 0xFFFFu;
    const uint32_t zero = half << 16 | half;
    const int32_t taps = at->columns.end - at->columns.first;
    const int32_t step = w->dilation_width == 1 ? taps : 1;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < at->rows.first || ky >= at->rows.end) {
            column = ek_fill(zero, w->kernel_width * words, column, stride);
            continue;
        }
        column = ek_fill(zero, at->columns.first * words, column, stride);
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx += step) {
            const int8_t *const pixel = input + ek_pixel(w, at, ky, kx) * p->in_channels;
            column = ek_expand(pixel, step * p->in_channels, column, stride);
        }
        column = ek_fill(zero, (w->kernel_width - at->columns.end) * words, column, stride);
    }
}

/* The same for any number of channels, by way of `bytes`: a patch of 2 * pairs bytes, those after
 * the window's last tap meet weights of 0. */
EK_INLINE void ek_gather_bytes(const ek_dsp_conv2d_params *p, const int8_t *input, const ek_place *at,
                               uint32_t *column, int32_t stride, int8_t *bytes) {
    ek_patch(&p->window, p->in_channels, (int8_t)p->input_zero_point, input, at, bytes);
    ek_expand(bytes, 2 * p->pairs, column, stride);
}

EK_INLINE void ek_gather(const ek_dsp_conv2d_params *p, const int8_t *input, int32_t index,
                         uint32_t *columns, uint32_t *column, int32_t stride) {
    const int32_t width = p->window.out_width;
    const ek_place at = ek_place_at(&p->window, index / width, index % width);
    if (p->in_channels % 4 == 0) {
        ek_gather_words(p, input, &at, column, stride);
    } else {
        ek_gather_bytes(p, input, &at, column, stride, (int8_t *)(columns + 4 * p->pairs));
    }
}

/* scratch: 4 columns, 4 * pairs bytes each, then 2 * pairs bytes where in_channels is no multiple
 * of 4. */
EK_INLINE void ek_dsp_conv2d(const ek_dsp_conv2d_params *p, const int8_t *input, int8_t *output,
                             void *scratch, ek_finisher finish) {
    uint32_t *const columns = scratch;
    const int32_t pixels = p->window.out_height * p->window.out_width;
    int32_t index = 0;
    for (; index + 4 <= pixels; index += 4) {
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            ek_gather(p, input, index + pixel, columns, columns + pixel, 4);
        }
        ek_matrix_4(p, columns, output, finish);
        output += 4 * p->out_channels;
    }
    for (; index < pixels; index++) {
        ek_gather(p, input, index, columns, columns, 1);
        ek_matrix_1(p, columns, output, finish);
        output += p->out_channels;
    }
}

#endif

/* A convolution whose window is one pixel and that moves one pixel at a time. */
#ifndef EK_DSP_POINTWISE_H
#define EK_DSP_POINTWISE_H

#include "ek_matrix.h"

/* scratch: 4 columns, 2 * in_channels bytes each. in_channels is a multiple of 4. */
EK_INLINE void ek_dsp_pointwise(const ek_dsp_conv2d_params *p, const int8_t *input, int8_t *output,
                                void *scratch, ek_finisher finish) {
    uint32_t *const columns = scratch;
    int32_t left = p->window.out_height * p->window.out_width;
    for (; left >= 4; left -= 4) {
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            ek_expand(input, p->in_channels, columns + pixel, 4);
            input += p->in_channels;
        }
        ek_matrix_4(p, columns, output, finish);
        output += 4 * p->out_channels;
    }
    for (; left > 0; left--) {
        ek_expand(input, p->in_channels, columns, 1);
        ek_matrix_1(p, columns, output, finish);
        input += p->in_channels;
        output += p->out_channels;
    }
}

#endif

/* Columns times the weight matrix: the inner part of convolutions. */
#ifndef EK_MATRIX_H
#define EK_MATRIX_H

#include "ek_column.h"
#include "ek_dot.h"
#include "ek_finish.h"

/* All channels of four pixels; `output` is the first of 4 * out_channels bytes. */
EK_INLINE void ek_matrix_4(const ek_dsp_conv2d_params *p, const uint32_t *columns, int8_t *output,
                           ek_finisher finish) {
    const uint32_t *weights = p->weights;
    const int32_t pairs = p->pairs, channels = p->out_channels;
    const ek_output o = p->output; /* stores of int8 could alias what p points to */
    int32_t channel = 0;
    for (; channel + 2 <= channels; channel += 2) {
        const int32_t bias_a = o.bias[channel], bias_b = o.bias[channel + 1];
        int32_t a[4] = {bias_a, bias_a, bias_a, bias_a};
        int32_t b[4] = {bias_b, bias_b, bias_b, bias_b};
        ek_dot_4x2(columns, weights, pairs, a, b);
        weights += pairs;
        const ek_factor factor_a = ek_factor_of(&o, channel);
        int8_t *to = output;
        to[0] = finish(2 * a[0], &factor_a);
        to[channels] = finish(2 * a[1], &factor_a);
        to[2 * channels] = finish(2 * a[2], &factor_a);
        to[3 * channels] = finish(2 * a[3], &factor_a);
        const ek_factor factor_b = ek_factor_of(&o, channel + 1);
        to++;
        to[0] = finish(2 * b[0], &factor_b);
        to[channels] = finish(2 * b[1], &factor_b);
        to[2 * channels] = finish(2 * b[2], &factor_b);
        to[3 * channels] = finish(2 * b[3], &factor_b);
        output += 2;
    }
    if (channel < channels) {
        const ek_factor factor = ek_factor_of(&o, channel);
        const int32_t bias = o.bias[channel];
        int32_t sums[4] = {bias, bias, bias, bias};
        ek_dot_4x1(columns, weights, pairs, sums);
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            output[pixel * channels] = finish(2 * sums[pixel], &factor);
        }
    }
}

/* All channels of one pixel. */
EK_INLINE void ek_matrix_1(const ek_dsp_conv2d_params *p, const uint32_t *column, int8_t *output,
                           ek_finisher finish) {
    const uint32_t *weights = p->weights;
    const int32_t pairs = p->pairs, channels = p->out_channels;
    const ek_output o = p->output; /* stores of int8 could alias what p points to */
    int32_t sums[4];
    int32_t channel = 0;
    for (; channel + 4 <= channels; channel += 4) {
        for (int32_t i = 0; i < 4; i++) {
            sums[i] = o.bias[channel + i];
        }
        ek_dot_1x4(column, weights, weights + pairs, pairs, sums);
        weights += 2 * pairs;
        for (int32_t i = 0; i < 4; i++) {
            const ek_factor factor = ek_factor_of(&o, channel + i);
            output[channel + i] = finish(2 * sums[i], &factor);
        }
    }
    if (channel + 2 <= channels) {
        sums[0] = o.bias[channel];
        sums[1] = o.bias[channel + 1];
        ek_dot_1x2(column, weights, pairs, sums);
        weights += pairs;
        for (int32_t i = 0; i < 2; i++) {
            const ek_factor factor = ek_factor_of(&o, channel + i);
            output[channel + i] = finish(2 * sums[i], &factor);
        }
        channel += 2;
    }
    if (channel < channels) {
        const ek_factor factor = ek_factor_of(&o, channel);
        const int32_t sum = ek_dot_1x1(column, weights, pairs, o.bias[channel]);
        output[channel] = finish(2 * sum, &factor);
    }
}

#endif

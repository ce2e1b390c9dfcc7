/* Columns of int16 times the weight matrix: the inner part of convolutions. */
#ifndef EK_MATRIX_16_H
#define EK_MATRIX_16_H

#include "ek_dot.h"
#include "ek_dsp_16.h"

/* One channel of four pixels, whose outputs are `step` apart. */
EK_INLINE void ek_finish_four_16(const int32_t sums[4], const ek_dsp_output_16 *o, int32_t channel,
                                 int16_t *output, int32_t step) {
    const ek_factor_16 factor = ek_factor_16_of(o, channel);
    output[0] = ek_finish_dsp_16(sums[0], &factor);
    output[step] = ek_finish_dsp_16(sums[1], &factor);
    output[2 * step] = ek_finish_dsp_16(sums[2], &factor);
    output[3 * step] = ek_finish_dsp_16(sums[3], &factor);
}

/* All channels of four pixels; `output` is the first of 4 * out_channels numbers. */
EK_INLINE void ek_matrix_4_16(const ek_dsp_conv2d_16_params *p, const uint32_t *columns,
                              int16_t *output) {
    const uint32_t *weights = p->weights;
    const int32_t pairs = p->pairs, channels = p->out_channels;
    const ek_dsp_output_16 o = p->output;
    int32_t channel = 0;
    for (; channel + 2 <= channels; channel += 2) {
        const int32_t bias_a = o.bias[channel], bias_b = o.bias[channel + 1];
        int32_t a[4] = {bias_a, bias_a, bias_a, bias_a};
        int32_t b[4] = {bias_b, bias_b, bias_b, bias_b};
        ek_dot_4x2(columns, weights, pairs, a, b);
        weights += pairs;
        ek_finish_four_16(a, &o, channel, output + channel, channels);
        ek_finish_four_16(b, &o, channel + 1, output + channel + 1, channels);
    }
    if (channel < channels) {
        const int32_t bias = o.bias[channel];
        int32_t sums[4] = {bias, bias, bias, bias};
        ek_dot_4x1(columns, weights, pairs, sums);
        ek_finish_four_16(sums, &o, channel, output + channel, channels);
    }
}

EK_INLINE void ek_finish_one_16(const ek_dsp_output_16 *o, int32_t channel, int32_t sum,
                                int16_t *output) {
    const ek_factor_16 factor = ek_factor_16_of(o, channel);
    output[channel] = ek_finish_dsp_16(sum, &factor);
}

/* All channels of one pixel. */
EK_INLINE void ek_matrix_1_16(const ek_dsp_conv2d_16_params *p, const uint32_t *column,
                              int16_t *output) {
    const uint32_t *weights = p->weights;
    const int32_t pairs = p->pairs, channels = p->out_channels;
    const ek_dsp_output_16 o = p->output;
    int32_t channel = 0;
    for (; channel + 2 <= channels; channel += 2) {
        int32_t sums[2] = {o.bias[channel], o.bias[channel + 1]};
        ek_dot_1x2(column, weights, pairs, sums);
        weights += pairs;
        ek_finish_one_16(&o, channel, sums[0], output);
        ek_finish_one_16(&o, channel + 1, sums[1], output);
    }
    if (channel < channels) {
        const int32_t sum = ek_dot_1x1(column, weights, pairs, o.bias[channel]);
        ek_finish_one_16(&o, channel, sum, output);
    }
}

#endif

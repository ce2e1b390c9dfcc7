/* Patches times the weight matrix. Two pixels share each weight that is loaded, four channels
 * share each input: 6 loads for 8 products, and the sums stay in registers. */
#ifndef EK_ROWS_H
#define EK_ROWS_H

#include "ek_channel.h"
#include "ek_portable.h"

/* One channel of two pixels. */
EK_INLINE void ek_finish_two(const ek_output *o, int32_t channel, int32_t a, int32_t b,
                             int8_t *output, int8_t *next) {
    const ek_channel c = ek_channel_of(o, channel);
    output[channel] = ek_finish(&c, a);
    next[channel] = ek_finish(&c, b);
}

/* One channel of one pixel. */
EK_INLINE void ek_finish_one(const ek_output *o, int32_t channel, int32_t sum, int8_t *output) {
    const ek_channel c = ek_channel_of(o, channel);
    output[channel] = ek_finish(&c, sum);
}

/* One pixel, four channels. */
EK_INLINE void ek_sums_1x4(const int8_t *patch, const int8_t *weights, int32_t taps,
                           int32_t sums[4]) {
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (const int8_t *const end = patch + taps; patch != end; patch++) {
        const int32_t x = *patch;
        s0 += x * weights[0];
        s1 += x * weights[1];
        s2 += x * weights[2];
        s3 += x * weights[3];
        weights += 4;
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

/* One pixel, one channel. */
EK_INLINE int32_t ek_sum_1x1(const int8_t *patch, const int8_t *weights, int32_t taps,
                             int32_t sum) {
    for (int32_t i = 0; i < taps; i++) {
        sum += patch[i] * weights[i];
    }
    return sum;
}

/* Two pixels, four channels; sums are [pixel][channel]. */
EK_INLINE void ek_sums_2x4(const int8_t *a, const int8_t *b, const int8_t *weights, int32_t taps,
                           int32_t sums[2][4]) {
    int32_t a0 = sums[0][0], a1 = sums[0][1], a2 = sums[0][2], a3 = sums[0][3];
    int32_t b0 = sums[1][0], b1 = sums[1][1], b2 = sums[1][2], b3 = sums[1][3];
#define EK_TAP(i)                                                                                  \
    x = a[i], y = b[i];                                                                            \
    w = weights[4 * (i)], a0 += x * w, b0 += y * w;                                                \
    w = weights[4 * (i) + 1], a1 += x * w, b1 += y * w;                                            \
    w = weights[4 * (i) + 2], a2 += x * w, b2 += y * w;                                            \
    w = weights[4 * (i) + 3], a3 += x * w, b3 += y * w;
    const int8_t *const end = a + taps, *const unrolled_end = a + (taps & ~3);
    int32_t x, y, w;
    while (a != unrolled_end) {
        EK_TAP(0) EK_TAP(1) EK_TAP(2) EK_TAP(3)
        a += 4, b += 4, weights += 16;
    }
    while (a != end) {
        EK_TAP(0)
        a++, b++, weights += 4;
    }
#undef EK_TAP
    sums[0][0] = a0, sums[0][1] = a1, sums[0][2] = a2, sums[0][3] = a3;
    sums[1][0] = b0, sums[1][1] = b1, sums[1][2] = b2, sums[1][3] = b3;
}

/* All channels of one patch. */
EK_INLINE void ek_rows_1(const ek_conv2d_params *p, const int8_t *patch, int8_t *output) {
    const int8_t *weights = p->weights;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_channels; channel += 4) {
        const int32_t *const bias = p->output.bias + channel;
        int32_t sums[4] = {bias[0], bias[1], bias[2], bias[3]};
        ek_sums_1x4(patch, weights, p->taps, sums);
        weights += 4 * p->taps;
        ek_finish_one(&p->output, channel, sums[0], output);
        ek_finish_one(&p->output, channel + 1, sums[1], output);
        ek_finish_one(&p->output, channel + 2, sums[2], output);
        ek_finish_one(&p->output, channel + 3, sums[3], output);
    }
    for (; channel < p->out_channels; channel++) {
        const int32_t sum = ek_sum_1x1(patch, weights, p->taps, p->output.bias[channel]);
        weights += p->taps;
        ek_finish_one(&p->output, channel, sum, output);
    }
}

/* All channels of two patches, whose outputs are side by side. */
EK_INLINE void ek_rows_2(const ek_conv2d_params *p, const int8_t *a, const int8_t *b,
                         int8_t *output) {
    const int8_t *weights = p->weights;
    int8_t *const next = output + p->out_channels;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_channels; channel += 4) {
        const int32_t *const bias = p->output.bias + channel;
        int32_t sums[2][4] = {{bias[0], bias[1], bias[2], bias[3]},
                              {bias[0], bias[1], bias[2], bias[3]}};
        ek_sums_2x4(a, b, weights, p->taps, sums);
        weights += 4 * p->taps;
        ek_finish_two(&p->output, channel, sums[0][0], sums[1][0], output, next);
        ek_finish_two(&p->output, channel + 1, sums[0][1], sums[1][1], output, next);
        ek_finish_two(&p->output, channel + 2, sums[0][2], sums[1][2], output, next);
        ek_finish_two(&p->output, channel + 3, sums[0][3], sums[1][3], output, next);
    }
    for (; channel < p->out_channels; channel++) {
        const int32_t bias = p->output.bias[channel];
        const int32_t first = ek_sum_1x1(a, weights, p->taps, bias);
        const int32_t second = ek_sum_1x1(b, weights, p->taps, bias);
        ek_finish_two(&p->output, channel, first, second, output, next);
        weights += p->taps;
    }
}

#endif

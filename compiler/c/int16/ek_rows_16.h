/* Patches times the weight matrix: four channels share each input, two pixels each weight.
 *
 * Products have 23 bits and a sign, so EK_RUN of them fit 32 bits: the loops run that far on narrow
 * sums, which are then added to the wide ones.
 */
#ifndef EK_ROWS_16_H
#define EK_ROWS_16_H

#include "ek_finish_16.h"

#define EK_RUN 508

EK_INLINE int32_t ek_run_of(int32_t taps) {
    return taps < EK_RUN ? taps : EK_RUN;
}

/* One pixel, four channels, one run. */
EK_INLINE void ek_run_1x4(const int16_t *a, const int8_t *weights, int32_t taps, int64_t sums[4]) {
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (const int16_t *const end = a + taps; a != end; a++) {
        const int32_t x = *a;
        s0 += x * weights[0];
        s1 += x * weights[1];
        s2 += x * weights[2];
        s3 += x * weights[3];
        weights += 4;
    }
    sums[0] += s0, sums[1] += s1, sums[2] += s2, sums[3] += s3;
}

EK_INLINE void ek_sums_1x4_16(const int16_t *a, const int8_t *weights, int32_t taps,
                              int64_t sums[4]) {
    sums[0] = 0, sums[1] = 0, sums[2] = 0, sums[3] = 0;
    while (taps > 0) {
        const int32_t run = ek_run_of(taps);
        ek_run_1x4(a, weights, run, sums);
        a += run, weights += 4 * run, taps -= run;
    }
}

/* One pixel, one channel. */
EK_INLINE int64_t ek_sum_1x1_16(const int16_t *a, const int8_t *weights, int32_t taps) {
    int64_t sum = 0;
    while (taps > 0) {
        const int32_t run = ek_run_of(taps);
        int32_t part = 0;
        for (int32_t i = 0; i < run; i++) {
            part += a[i] * weights[i];
        }
        sum += part;
        a += run, weights += run, taps -= run;
    }
    return sum;
}

/* Two pixels, four channels, one run; sums are [pixel][channel]. */
EK_INLINE void ek_run_2x4(const int16_t *a, const int16_t *b, const int8_t *weights, int32_t taps,
                          int64_t sums[2][4]) {
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    int32_t b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    for (const int16_t *const end = a + taps; a != end; a++, b++) {
        const int32_t x = *a, y = *b;
        int32_t w;
        w = weights[0], a0 += x * w, b0 += y * w;
        w = weights[1], a1 += x * w, b1 += y * w;
        w = weights[2], a2 += x * w, b2 += y * w;
        w = weights[3], a3 += x * w, b3 += y * w;
        weights += 4;
    }
    sums[0][0] += a0, sums[0][1] += a1, sums[0][2] += a2, sums[0][3] += a3;
    sums[1][0] += b0, sums[1][1] += b1, sums[1][2] += b2, sums[1][3] += b3;
}

EK_INLINE void ek_sums_2x4_16(const int16_t *a, const int16_t *b, const int8_t *weights,
                              int32_t taps, int64_t sums[2][4]) {
    for (int32_t i = 0; i < 4; i++) {
        sums[0][i] = 0, sums[1][i] = 0;
    }
    while (taps > 0) {
        const int32_t run = ek_run_of(taps);
        ek_run_2x4(a, b, weights, run, sums);
        a += run, b += run, weights += 4 * run, taps -= run;
    }
}

/* All channels of one patch. */
EK_INLINE void ek_rows_1_16(const ek_conv2d_16_params *p, const int16_t *patch, int16_t *output) {
    const int8_t *weights = p->weights;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_channels; channel += 4) {
        int64_t sums[4];
        ek_sums_1x4_16(patch, weights, p->taps, sums);
        for (int32_t i = 0; i < 4; i++) {
            output[channel + i] = ek_finish_16(&p->output, channel + i, sums[i]);
        }
        weights += 4 * p->taps;
    }
    for (; channel < p->out_channels; channel++) {
        const int64_t sum = ek_sum_1x1_16(patch, weights, p->taps);
        output[channel] = ek_finish_16(&p->output, channel, sum);
        weights += p->taps;
    }
}

/* All channels of two patches, whose outputs are side by side. */
EK_INLINE void ek_rows_2_16(const ek_conv2d_16_params *p, const int16_t *a, const int16_t *b,
                            int16_t *output) {
    const int8_t *weights = p->weights;
    int16_t *const next = output + p->out_channels;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_channels; channel += 4) {
        int64_t sums[2][4];
        ek_sums_2x4_16(a, b, weights, p->taps, sums);
        for (int32_t i = 0; i < 4; i++) {
            output[channel + i] = ek_finish_16(&p->output, channel + i, sums[0][i]);
            next[channel + i] = ek_finish_16(&p->output, channel + i, sums[1][i]);
        }
        weights += 4 * p->taps;
    }
    for (; channel < p->out_channels; channel++) {
        const int64_t first = ek_sum_1x1_16(a, weights, p->taps);
        const int64_t second = ek_sum_1x1_16(b, weights, p->taps);
        output[channel] = ek_finish_16(&p->output, channel, first);
        next[channel] = ek_finish_16(&p->output, channel, second);
        weights += p->taps;
    }
}

#endif

/* Fully connected layers: one column, four rows of weights at a time. */
#ifndef EK_DSP_FULLY_CONNECTED_H
#define EK_DSP_FULLY_CONNECTED_H

#include "ek_column.h"
#include "ek_dot.h"
#include "ek_dsp_kernels.h"
#include "ek_single_rounding.h"

/* The input as a column; the taps after its last one are 0. */
EK_INLINE void ek_dense_column(const int8_t *input, int32_t size, uint32_t *column) {
    const int32_t whole = size & ~3;
    int8_t rest[4] = {0, 0, 0, 0};
    column = ek_expand(input, whole, column, 1);
    if (whole != size) {
        for (int32_t i = whole; i < size; i++) {
            rest[i - whole] = input[i];
        }
        ek_expand4(ek_load4(rest), column, 1);
    }
}

EK_INLINE void ek_dsp_dense_row(const ek_dsp_dense *p, const void *scaling,
                                const uint32_t *column, int8_t *output,
                                ek_dense_finisher finish) {
    const int32_t pairs = p->pairs, size = p->out_size;
    const uint32_t *weights = p->weights;
    const int32_t *bias = p->bias;
    int32_t channel = 0;
    for (; channel + 4 <= size; channel += 4) {
        int32_t sums[4] = {bias[0], bias[1], bias[2], bias[3]};
        ek_dot_1x4(column, weights, weights + pairs, pairs, sums);
        weights += 2 * pairs;
        bias += 4;
        output[channel] = finish(scaling, channel, sums[0]);
        output[channel + 1] = finish(scaling, channel + 1, sums[1]);
        output[channel + 2] = finish(scaling, channel + 2, sums[2]);
        output[channel + 3] = finish(scaling, channel + 3, sums[3]);
    }
    if (channel + 2 <= size) {
        int32_t sums[2] = {bias[0], bias[1]};
        ek_dot_1x2(column, weights, pairs, sums);
        weights += pairs;
        bias += 2;
        output[channel] = finish(scaling, channel, sums[0]);
        output[channel + 1] = finish(scaling, channel + 1, sums[1]);
        channel += 2;
    }
    if (channel < size) {
        const int32_t sum = ek_dot_1x1(column, 1, weights, pairs, *bias);
        output[channel] = finish(scaling, channel, sum);
    }
}

/* scratch: a column, 4 * pairs bytes. */
EK_INLINE void ek_dsp_dense_rows(const ek_dsp_dense *p, const void *scaling, const int8_t *input,
                                 int8_t *output, void *scratch, ek_dense_finisher finish) {
    for (int32_t row = 0; row < p->rows; row++) {
        ek_dense_column(input, p->in_size, scratch);
        ek_dsp_dense_row(p, scaling, scratch, output, finish);
        input += p->in_size;
        output += p->out_size;
    }
}

#endif

/* Fully connected layers: four outputs share each input that is loaded. */
#ifndef EK_FULLY_CONNECTED_H
#define EK_FULLY_CONNECTED_H

#include "ek_rows.h"
#include "ek_single_rounding.h"

EK_INLINE void ek_dense_row(const ek_dense *p, const void *scaling, const int8_t *input,
                            int8_t *output, ek_dense_finisher finish) {
    const int8_t *weights = p->weights;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_size; channel += 4) {
        const int32_t *const bias = p->bias + channel;
        int32_t sums[4] = {bias[0], bias[1], bias[2], bias[3]};
        ek_sums_1x4(input, weights, p->in_size, sums);
        weights += 4 * p->in_size;
        output[channel] = finish(scaling, channel, sums[0]);
        output[channel + 1] = finish(scaling, channel + 1, sums[1]);
        output[channel + 2] = finish(scaling, channel + 2, sums[2]);
        output[channel + 3] = finish(scaling, channel + 3, sums[3]);
    }
    for (; channel < p->out_size; channel++) {
        const int32_t sum = ek_sum_1x1(input, weights, p->in_size, p->bias[channel]);
        weights += p->in_size;
        output[channel] = finish(scaling, channel, sum);
    }
}

EK_INLINE void ek_dense_rows(const ek_dense *p, const void *scaling, const int8_t *input,
                             int8_t *output, ek_dense_finisher finish) {
    for (int32_t row = 0; row < p->rows; row++) {
        ek_dense_row(p, scaling, input, output, finish);
        input += p->in_size;
        output += p->out_size;
    }
}

#endif

/* Fully connected layers: one column, four rows of weights at a time. */
#ifndef EK_DSP_FULLY_CONNECTED_H
#define EK_DSP_FULLY_CONNECTED_H

#include "ek_column.h"
#include "ek_dot.h"
#include "ek_dsp_kernels.h"

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

/* Sums of up to four outputs from `channel`; returns how many. */
EK_INLINE int32_t ek_dense_sums(const uint32_t *column, const uint32_t *weights, int32_t pairs,
                                const int32_t *bias, int32_t left, int32_t sums[4]) {
    const int32_t count = left >= 4 ? 4 : (left >= 2 ? 2 : 1);
    for (int32_t i = 0; i < count; i++) {
        sums[i] = bias[i];
    }
    if (count == 4) {
        ek_dot_1x4(column, weights, weights + pairs, pairs, sums);
    } else if (count == 2) {
        ek_dot_1x2(column, weights, pairs, sums);
    } else {
        sums[0] = ek_dot_1x1(column, 1, weights, pairs, sums[0]);
    }
    return count;
}

#endif

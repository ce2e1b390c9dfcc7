#include "ek_reduce.h"

EK_INLINE int32_t larger(int32_t total, int8_t q) {
    return q > total ? q : total;
}

void ek_reduce_max(const ek_reduce_max_params *p, const int8_t *input, int8_t *output) {
    int32_t index[EK_OUTER] = {0};
    do {
        const int8_t *const from = input + ek_offset(p->kept.strides, index);
        for (int32_t i = 0; i < p->kept.shape[EK_OUTER]; i++) {
            const int8_t *const first = from + i * p->kept.strides[EK_OUTER];
            *output++ = (int8_t)ek_reduce(&p->reduced, larger, INT8_MIN, first);
        }
    } while (ek_next(p->kept.shape, index));
}

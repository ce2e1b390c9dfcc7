#define EK_INT16
#include "ek_int16_kernels.h"
#include "ek_reduce.h"

EK_INLINE int32_t larger(int32_t total, int16_t q) {
    return q > total ? q : total;
}

void ek_reduce_max_16(const ek_reduce_max_params *p, const int16_t *input, int16_t *output) {
    int32_t index[EK_OUTER] = {0};
    do {
        const int16_t *const from = input + ek_offset(p->kept.strides, index);
        for (int32_t i = 0; i < p->kept.shape[EK_OUTER]; i++) {
            const int16_t *const first = from + i * p->kept.strides[EK_OUTER];
            *output++ = (int16_t)ek_reduce(&p->reduced, larger, INT16_MIN, first);
        }
    } while (ek_next(p->kept.shape, index));
}

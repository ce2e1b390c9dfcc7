#define EK_INT16
#include "ek_int16_kernels.h"
#include "ek_reduce.h"
#include "ek_requantize.h"

EK_INLINE int32_t add(int32_t total, int16_t q) {
    return total + q;
}

void ek_sum_axes_16(const ek_sum_axes_params *p, const int16_t *input, int16_t *output) {
    int32_t index[EK_OUTER] = {0};
    do {
        const int16_t *const from = input + ek_offset(p->kept.strides, index);
        for (int32_t i = 0; i < p->kept.shape[EK_OUTER]; i++) {
            const int16_t *const first = from + i * p->kept.strides[EK_OUTER];
            const int32_t sum = ek_reduce(&p->reduced, add, 0, first);
            const int32_t scaled = ek_scale_bounded(sum, p->multiplier, p->shift);
            *output++ = (int16_t)ek_clamp(scaled, INT16_MIN, INT16_MAX);
        }
    } while (ek_next(p->kept.shape, index));
}

#include "ek_reduce.h"
#include "ek_requantize.h"

EK_INLINE int32_t add(int32_t total, int8_t q) {
    return total + q;
}

void ek_sum_axes(const ek_sum_axes_params *p, const int8_t *input, int8_t *output) {
    int32_t index[EK_OUTER] = {0};
    do {
        const int8_t *const from = input + ek_offset(p->kept.strides, index);
        for (int32_t i = 0; i < p->kept.shape[EK_OUTER]; i++) {
            const int8_t *const first = from + i * p->kept.strides[EK_OUTER];
            const int32_t sum = ek_reduce(&p->reduced, add, p->first, first);
            const int32_t scaled = ek_scale_bounded(sum, p->multiplier, p->shift);
            *output++ = (int8_t)ek_clamp(scaled + p->output_zero_point, INT8_MIN, INT8_MAX);
        }
    } while (ek_next(p->kept.shape, index));
}

#include "ek_broadcast.h"
#include "ek_requantize.h"

EK_INLINE int8_t step(const void *params, int8_t a, int8_t b) {
    const ek_mul_params *const p = params;
    const int32_t product = (a - p->a_zero_point) * (b - p->b_zero_point);
    const int32_t scaled = ek_scale_bounded(product, p->multiplier, p->shift);
    return (int8_t)ek_clamp(scaled + p->output_zero_point, p->minimum, p->maximum);
}

void ek_mul(const ek_mul_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    ek_each_pair(&p->axes, p, step, a, b, output);
}

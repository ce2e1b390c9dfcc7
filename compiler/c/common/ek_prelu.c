#include "ek_broadcast.h"
#include "ek_requantize.h"

EK_INLINE int8_t step(const void *params, int8_t q, int8_t slope) {
    const ek_prelu_params *const p = params;
    const int32_t x = q - p->input_zero_point;
    const int32_t product = x * (slope - p->slope_zero_point);
    const int32_t scaled = x >= 0 ? ek_scale_bounded(x, p->multiplier, p->shift)
                                  : ek_scale_bounded(product, p->below_multiplier, p->below_shift);
    return (int8_t)ek_clamp(scaled + p->output_zero_point, INT8_MIN, INT8_MAX);
}

void ek_prelu(const ek_prelu_params *p, const int8_t *input, const int8_t *slopes,
              int8_t *output) {
    ek_each_pair(&p->axes, p, step, input, slopes, output);
}

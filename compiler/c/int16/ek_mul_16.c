#define EK_INT16
#include "ek_broadcast.h"
#include "ek_int16_kernels.h"
#include "ek_requantize.h"

EK_INLINE int16_t step(const void *params, int16_t a, int16_t b) {
    const ek_mul_params *const p = params;
    const int32_t scaled = ek_scale_bounded((int32_t)a * b, p->multiplier, p->shift);
    return (int16_t)ek_clamp(scaled, p->minimum, p->maximum);
}

void ek_mul_16(const ek_mul_params *p, const int16_t *a, const int16_t *b, int16_t *output) {
    ek_each_pair(&p->axes, p, step, a, b, output);
}

#include "ek_kernels.h"
#include "ek_requantize.h"

/* 20 bits of headroom keep the sum of two 9-bit differences exact in 32 bits. */
static int32_t widen(const ek_addend *addend, int8_t q) {
    const int32_t difference = (q - addend->zero_point) * ((int32_t)1 << 20);
    return ek_scale(difference, addend->multiplier, addend->shift);
}

void ek_add(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    for (int32_t i = 0; i < p->size; i++) {
        const int32_t sum = widen(&p->a, a[i]) + widen(&p->b, b[i]);
        const int32_t scaled = ek_scale(sum, p->output_multiplier, p->output_shift);
        output[i] = (int8_t)ek_clamp(scaled + p->output_zero_point, p->minimum, p->maximum);
    }
}

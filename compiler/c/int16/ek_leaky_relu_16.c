#include "ek_int16_kernels.h"
#include "ek_requantize.h"

void ek_leaky_relu_16(const ek_leaky_relu_16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t i = 0; i < p->size; i++) {
        const int32_t x = input[i];
        const int32_t scaled =
            x >= 0 ? ek_scale_bounded(x, p->multiplier, p->shift)
                   : p->below_sign * ek_scale_bounded(x, p->below_multiplier, p->below_shift);
        output[i] = (int16_t)ek_clamp(scaled, INT16_MIN, INT16_MAX);
    }
}

#include "ek_int16_kernels.h"
#include "ek_requantize.h"

void ek_abs_16(const ek_abs_16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t i = 0; i < p->size; i++) {
        const int32_t x = input[i] < 0 ? -input[i] : input[i];
        const int32_t scaled = ek_scale_bounded(x, p->multiplier, p->shift);
        output[i] = (int16_t)ek_clamp(scaled, INT16_MIN, INT16_MAX);
    }
}

#include "ek_int16_kernels.h"
#include "ek_requantize.h"

void ek_rescale_16_to_8(const ek_rescale_params *p, const int16_t *input, int8_t *output) {
    for (int32_t i = 0; i < p->size; i++) {
        const int32_t x = input[i] - p->input_zero_point;
        const int32_t scaled = ek_scale_bounded(x, p->multiplier, p->shift) + p->output_zero_point;
        output[i] = (int8_t)ek_clamp(scaled, p->minimum, p->maximum);
    }
}

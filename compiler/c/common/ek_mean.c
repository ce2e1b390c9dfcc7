#include "ek_kernels.h"
#include "ek_requantize.h"

void ek_mean(const ek_mean_params *p, const int8_t *input, int8_t *output) {
    for (int32_t c = 0; c < p->channels; c++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < p->positions; i++) {
            sum += input[i * p->channels + c] - p->input_zero_point;
        }
        const int32_t scaled = ek_scale(sum, p->multiplier, p->shift);
        output[c] = (int8_t)ek_clamp(scaled + p->output_zero_point, INT8_MIN, INT8_MAX);
    }
}

#include "ek_kernels.h"
#include "ek_requantize.h"

void ek_fully_connected(const ek_fully_connected_params *p, const int8_t *input, int8_t *output) {
    const ek_output *o = &p->output;
    const int8_t *weights = p->weights;
    for (int32_t i = 0; i < p->out_size; i++) {
        int32_t sum = p->bias[i];
        for (int32_t k = 0; k < p->in_size; k++) {
            sum += *weights++ * (input[k] - p->input_zero_point);
        }
        const int32_t scaled = ek_scale(sum, o->multiplier[i], o->shift[i]);
        output[i] = (int8_t)ek_clamp(scaled + o->zero_point, o->minimum, o->maximum);
    }
}

#include "ek_recurrent.h"

#include "ek_requantize.h"

/* Sums wrap around, as they do in the reference kernels where weights are absurd. */
static int32_t ek_wrapped(uint32_t sum) {
    return sum <= INT32_MAX ? (int32_t)sum : -(int32_t)(UINT32_MAX - sum) - 1;
}

/* Each filter forgets its oldest value and takes in the frame's. */
static void ek_svdf_remember(const ek_svdf_params *p, const int8_t *input, int16_t *memory) {
    const int8_t *weights = p->weights;
    for (int32_t filter = 0; filter < p->units * p->rank; filter++) {
        int32_t sum = p->filter_bias[filter];
        for (int32_t i = 0; i < p->features; i++) {
            sum += input[i] * weights[i];
        }
        for (int32_t i = 0; i + 1 < p->memory; i++) {
            memory[i] = memory[i + 1];
        }
        const int32_t scaled = ek_scale(sum, p->state_multiplier, p->state_shift);
        memory[p->memory - 1] = (int16_t)ek_bounded(scaled, INT16_MIN, INT16_MAX);
        weights += p->features;
        memory += p->memory;
    }
}

void ek_svdf(const ek_svdf_params *p, const int8_t *input, int8_t *output, int16_t *memory) {
    const int16_t *in_time = p->in_time;
    ek_svdf_remember(p, input, memory);
    for (int32_t unit = 0; unit < p->units; unit++) {
        uint32_t total = (uint32_t)p->bias[unit];
        for (int32_t i = 0; i < p->rank * p->memory; i++) {
            total += (uint32_t)(memory[i] * in_time[i]);
        }
        const int32_t scaled = ek_scale(ek_wrapped(total), p->output_multiplier, p->output_shift);
        const int32_t shifted = ek_bounded(scaled, -255, 255) + p->output_zero_point;
        output[unit] = (int8_t)ek_bounded(shifted, INT8_MIN, INT8_MAX);
        memory += p->rank * p->memory;
        in_time += p->rank * p->memory;
    }
}

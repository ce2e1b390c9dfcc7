#include "ek_recurrent.h"

#include "ek_requantize.h"
#include "ek_rows.h"

/* Sums wrap around, as they do in the reference kernels where weights are absurd. */
static int32_t ek_wrapped(uint32_t sum) {
    return sum <= INT32_MAX ? (int32_t)sum : -(int32_t)(UINT32_MAX - sum) - 1;
}

/* A filter forgets its oldest value and takes in the frame's. */
static void ek_take_in(const ek_svdf_params *p, int16_t *memory, int32_t filter, int32_t sum) {
    int16_t *const values = memory + filter * p->memory;
    for (int32_t i = 0; i + 1 < p->memory; i++) {
        values[i] = values[i + 1];
    }
    const int32_t scaled = ek_scale(sum, p->state_multiplier, p->state_shift);
    values[p->memory - 1] = (int16_t)ek_bounded(scaled, INT16_MIN, INT16_MAX);
}

static void ek_svdf_remember(const ek_svdf_params *p, const int8_t *input, int16_t *memory) {
    const int32_t filters = p->units * p->rank;
    const int8_t *weights = p->weights;
    int32_t filter = 0;
    for (; filter + 4 <= filters; filter += 4) {
        const int32_t *const bias = p->filter_bias + filter;
        int32_t sums[4] = {bias[0], bias[1], bias[2], bias[3]};
        ek_sums_1x4(input, weights, p->features, sums);
        for (int32_t i = 0; i < 4; i++) {
            ek_take_in(p, memory, filter + i, sums[i]);
        }
        weights += 4 * p->features;
    }
    for (; filter < filters; filter++) {
        const int32_t sum = ek_sum_1x1(input, weights, p->features, p->filter_bias[filter]);
        ek_take_in(p, memory, filter, sum);
        weights += p->features;
    }
}

void ek_svdf(const ek_svdf_params *p, const int8_t *input, int8_t *output, int16_t *memory) {
    const int32_t taps = p->rank * p->memory;
    const int16_t *in_time = p->in_time;
    ek_svdf_remember(p, input, memory);
    for (int32_t unit = 0; unit < p->units; unit++) {
        uint32_t total = (uint32_t)p->bias[unit];
        for (int32_t i = 0; i < taps; i++) {
            total += (uint32_t)(memory[i] * in_time[i]);
        }
        const int32_t scaled = ek_scale(ek_wrapped(total), p->output_multiplier, p->output_shift);
        const int32_t shifted = ek_bounded(scaled, -255, 255) + p->output_zero_point;
        output[unit] = (int8_t)ek_bounded(shifted, INT8_MIN, INT8_MAX);
        memory += taps;
        in_time += taps;
    }
}

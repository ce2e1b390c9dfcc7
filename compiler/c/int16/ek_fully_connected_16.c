#include "ek_rows_16.h"
#include "ek_scale_real.h"

static int16_t finish(const ek_fully_connected_16_params *p, int32_t channel, int64_t sum) {
    return ek_scale_real(&p->output, channel, sum + p->bias[channel]);
}

static void row(const ek_fully_connected_16_params *p, const int16_t *input, int16_t *output) {
    const int8_t *weights = p->weights;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_size; channel += 4) {
        int64_t sums[4];
        ek_sums_1x4_16(input, weights, p->in_size, sums);
        for (int32_t i = 0; i < 4; i++) {
            output[channel + i] = finish(p, channel + i, sums[i]);
        }
        weights += 4 * p->in_size;
    }
    for (; channel < p->out_size; channel++) {
        output[channel] = finish(p, channel, ek_sum_1x1_16(input, weights, p->in_size));
        weights += p->in_size;
    }
}

void ek_fully_connected_16(const ek_fully_connected_16_params *p, const int16_t *input,
                           int16_t *output) {
    for (int32_t i = 0; i < p->rows; i++) {
        row(p, input + i * p->in_size, output + i * p->out_size);
    }
}

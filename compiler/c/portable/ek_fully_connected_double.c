#include "ek_rows.h"
#include "ek_single_rounding.h"

static void dense_row(const ek_fully_connected_double_params *p, const int8_t *input, int8_t *output) {
    const int8_t *weights = p->weights;
    const int32_t *const bias = p->output.bias;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_size; channel += 4) {
        int32_t sums[4] = {bias[channel], bias[channel + 1], bias[channel + 2], bias[channel + 3]};
        ek_sums_1x4(input, weights, p->in_size, sums);
        weights += 4 * p->in_size;
        for (int32_t i = 0; i < 4; i++) {
            output[channel + i] = ek_scale_once_double(&p->output, channel + i, sums[i]);
        }
    }
    for (; channel < p->out_size; channel++) {
        const int32_t sum = ek_sum_1x1(input, weights, p->in_size, bias[channel]);
        weights += p->in_size;
        output[channel] = ek_scale_once_double(&p->output, channel, sum);
    }
}

void ek_fully_connected_double(const ek_fully_connected_double_params *p, const int8_t *input,
                        int8_t *output) {
    for (int32_t row = 0; row < p->rows; row++) {
        dense_row(p, input + row * p->in_size, output + row * p->out_size);
    }
}

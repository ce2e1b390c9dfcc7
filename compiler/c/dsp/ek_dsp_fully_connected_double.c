#include "ek_dsp_fully_connected.h"
#include "ek_single_rounding.h"

static void dense_row(const ek_dsp_fully_connected_double_params *p, const uint32_t *column,
                      int8_t *output) {
    const uint32_t *weights = p->weights;
    int32_t sums[4];
    for (int32_t channel = 0; channel < p->out_size;) {
        const int32_t *const bias = p->output.bias + channel;
        const int32_t left = p->out_size - channel;
        const int32_t count = ek_dense_sums(column, weights, p->pairs, bias, left, sums);
        weights += p->pairs * count / 2;
        for (int32_t i = 0; i < count; i++) {
            output[channel + i] = ek_scale_once_double(&p->output, channel + i, sums[i]);
        }
        channel += count;
    }
}

/* scratch: a column, 4 * pairs bytes. */
void ek_dsp_fully_connected_double(const ek_dsp_fully_connected_double_params *p, const int8_t *input,
                            int8_t *output, void *scratch) {
    for (int32_t row = 0; row < p->rows; row++) {
        ek_dense_column(input + row * p->in_size, p->in_size, scratch);
        dense_row(p, scratch, output + row * p->out_size);
    }
}

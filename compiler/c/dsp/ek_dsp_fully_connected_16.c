#include "ek_dot.h"
#include "ek_dsp_16.h"
#include "ek_scale_real.h"

static void finish(const ek_dsp_fully_connected_16_params *p, int32_t channel, int32_t sum,
                   int16_t *output) {
    output[channel] = ek_scale_real(&p->output, channel, sum);
}

/* A row of inputs as a column, filled with zeros. */
static void fill(const ek_dsp_fully_connected_16_params *p, const int16_t *input,
                 uint32_t *column) {
    uint32_t *const end = column + p->pairs;
    column = ek_words_16(input, p->in_size & ~1, column, 1);
    if (p->in_size % 2 != 0) {
        *column++ = (uint16_t)input[p->in_size - 1];
    }
    while (column != end) {
        *column++ = 0;
    }
}

static void row(const ek_dsp_fully_connected_16_params *p, const uint32_t *column,
                int16_t *output) {
    const uint32_t *weights = p->weights;
    const int32_t pairs = p->pairs;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_size; channel += 4) {
        const int32_t *const bias = p->bias + channel;
        int32_t sums[4] = {bias[0], bias[1], bias[2], bias[3]};
        ek_dot_1x4(column, weights, weights + pairs, pairs, sums);
        weights += 2 * pairs;
        for (int32_t i = 0; i < 4; i++) {
            finish(p, channel + i, sums[i], output);
        }
    }
    if (channel + 2 <= p->out_size) {
        int32_t sums[2] = {p->bias[channel], p->bias[channel + 1]};
        ek_dot_1x2(column, weights, pairs, sums);
        weights += pairs;
        finish(p, channel, sums[0], output);
        finish(p, channel + 1, sums[1], output);
        channel += 2;
    }
    if (channel < p->out_size) {
        const int32_t sum = ek_dot_1x1(column, weights, pairs, p->bias[channel]);
        finish(p, channel, sum, output);
    }
}

/* scratch: a column, 4 * pairs bytes. */
void ek_dsp_fully_connected_16(const ek_dsp_fully_connected_16_params *p, const int16_t *input,
                               int16_t *output, void *scratch) {
    for (int32_t i = 0; i < p->rows; i++) {
        fill(p, input + i * p->in_size, scratch);
        row(p, scratch, output + i * p->out_size);
    }
}

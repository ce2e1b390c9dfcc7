/* Operators along time. What one remembers between frames lies in the context; model_init makes it
 * zero. */
#ifndef EK_RECURRENT_H
#define EK_RECURRENT_H

#include <stdint.h>

/* Filters are products of a frame, weights [filters][features] and, in time, [filters][memory]; the
 * frame's zero point is folded into filter_bias. Memory is [filters][memory], the oldest first. */
typedef struct {
    int32_t features, memory;
    int32_t units, rank; /* rank filters side by side make one unit */
    const int8_t *weights;
    const int32_t *filter_bias;
    const int16_t *in_time;
    const int32_t *bias;
    int32_t state_multiplier, state_shift;
    int32_t output_multiplier, output_shift;
    int32_t output_zero_point;
} ek_svdf_params;

/* Weights are [4][units][features] and, of the state, [4][units][units], for the input gate, the
 * forget gate, the cell and the output gate; zero points are folded into the biases. One step of the
 * cell is 2^cell_bits, it is clipped where clip is not 0. */
typedef struct {
    int32_t steps, features, units;
    const int8_t *weights;
    const int32_t *bias;
    const int8_t *state_weights;
    const int32_t *state_bias;
    int32_t multiplier[4], shift[4];
    int32_t state_multiplier[4], state_shift[4];
    int32_t cell_bits, clip;
    int32_t output_multiplier, output_shift;
    int32_t output_zero_point;
} ek_lstm_params;

static inline int32_t ek_bounded(int32_t x, int32_t lowest, int32_t highest) {
    const int32_t floored = x < lowest ? lowest : x;
    return floored > highest ? highest : floored;
}

void ek_lstm(const ek_lstm_params *p, const int8_t *input, int8_t *output, int8_t *cells);
void ek_svdf(const ek_svdf_params *p, const int8_t *input, int8_t *output, int16_t *memory);

#endif

/* Operators along time. What one remembers between frames lies in the context; model_init makes it
 * zero. */
#ifndef EK_RECURRENT_H
#define EK_RECURRENT_H

#include <stdint.h>

/* Filters are products of a frame; four of them are woven, weights [filters / 4][features][4], the
 * rest are rows. In time they are [filters][memory], as is the memory, the oldest first. The frame's
 * zero point is folded into filter_bias. */
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

/* Products for the input gate, the forget gate, the cell and the output gate of each unit: weights
 * [units][size][4], biases [units][4], zero points folded into them. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    int32_t multiplier[4], shift[4];
} ek_gates;

/* One step of the cell is 2^cell_bits; it is clipped where clip is not 0. */
typedef struct {
    int32_t steps, features, units;
    ek_gates of_input, of_state;
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

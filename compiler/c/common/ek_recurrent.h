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

void ek_svdf(const ek_svdf_params *p, const int8_t *input, int8_t *output, int16_t *memory);

#endif

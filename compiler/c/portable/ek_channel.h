/* From a channel's sums to its outputs. */
#ifndef EK_CHANNEL_H
#define EK_CHANNEL_H

#include "ek_compiler.h"
#include "ek_kernels.h"
#include "ek_requantize.h"

/* What a channel's outputs have in common; stores of int8 could alias the structs it is from. */
typedef struct {
    int32_t bias, multiplier, shift, zero_point, minimum, maximum;
} ek_channel;

EK_INLINE ek_channel ek_channel_of(const ek_output *o, int32_t channel) {
    ek_channel c;
    c.bias = o->bias[channel];
    c.multiplier = o->multiplier[channel];
    c.shift = o->shift[channel];
    c.zero_point = o->zero_point;
    c.minimum = o->minimum;
    c.maximum = o->maximum;
    return c;
}

EK_INLINE int8_t ek_finish(const ek_channel *c, int32_t sum) {
    const int32_t scaled = ek_scale(sum, c->multiplier, c->shift);
    return (int8_t)ek_clamp(scaled + c->zero_point, c->minimum, c->maximum);
}

#endif

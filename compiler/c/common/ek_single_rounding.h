/* Scaling with one rounding, for fully connected layers: LiteRT's reference kernel multiplies
 * sums in double precision and rounds once, half away from zero. The generator looks for integer
 * multipliers that give the same outputs, and proves them at every sum where an output changes; a
 * layer that has none keeps double precision.
 */
#ifndef EK_SINGLE_ROUNDING_H
#define EK_SINGLE_ROUNDING_H

#include "ek_compiler.h"
#include "ek_kernels.h"

typedef char ek_double_must_have_64_bits[sizeof(double) == 8 ? 1 : -1];

/* A channel's sum to its output; `output` is the struct of the finisher's name. */
typedef int8_t (*ek_dense_finisher)(const void *output, int32_t channel, int32_t sum);

EK_INLINE int32_t ek_high_word(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b) >> 32);
}

EK_INLINE int8_t ek_scale_once(const void *output, int32_t channel, int32_t sum) {
    const ek_dense_output *const o = output;
    const int32_t shift = o->shift[channel & o->channels];
    const int32_t offset = (int32_t)((uint32_t)(2 * o->zero_point + 1) << shift) >> 1;
    const int32_t high = ek_high_word(sum, o->multiplier[channel & o->channels]);
    const int32_t scaled = (high + offset) >> shift;
    const int32_t floored = scaled < o->minimum ? o->minimum : scaled;
    return (int8_t)(floored > o->maximum ? o->maximum : floored);
}

EK_INLINE int8_t ek_scale_once_wide(const void *output, int32_t channel, int32_t sum) {
    const ek_dense_wide_output *const o = output;
    const int64_t half = (int64_t)1 << (o->shift - 1);
    const int64_t scaled = o->zero_point + ((sum * o->multiplier[channel & o->channels] + half) >> o->shift);
    const int64_t floored = scaled < o->minimum ? o->minimum : scaled;
    return (int8_t)(floored > o->maximum ? o->maximum : floored);
}

/* The product is volatile so that it is rounded to a double: a fused multiply-add would keep more
 * bits, and the last one decides ties. */
EK_INLINE int8_t ek_scale_once_double(const void *output, int32_t channel, int32_t sum) {
    const ek_dense_double_output *const o = output;
    const int32_t minimum = o->minimum - o->zero_point, maximum = o->maximum - o->zero_point;
    const volatile double rounded = (double)sum * o->factor[channel & o->channels];
    const double product = rounded;
    int32_t scaled;
    if (product <= minimum) {
        scaled = minimum;
    } else if (product >= maximum) {
        scaled = maximum;
    } else {
        scaled = (int32_t)(product < 0.0 ? product - 0.5 : product + 0.5);
    }
    return (int8_t)(scaled + o->zero_point);
}

#endif

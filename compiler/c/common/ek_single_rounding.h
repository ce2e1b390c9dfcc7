/* Scaling with one rounding, for fully connected layers: LiteRT's reference kernel multiplies
 * sums in double precision and rounds once, half away from zero. The generator looks for integer
 * multipliers that give the same outputs, and proves them at every sum where an output changes.
 */
#ifndef EK_SINGLE_ROUNDING_H
#define EK_SINGLE_ROUNDING_H

#include "ek_compiler.h"
#include "ek_kernels.h"

EK_INLINE int32_t ek_high_word(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b) >> 32);
}

EK_INLINE int8_t ek_scale_once(const ek_dense_output *o, int32_t channel, int32_t sum) {
    const int32_t shift = o->shift[channel];
    const int32_t half = ((int32_t)1 << shift) >> 1;
    const int32_t high = ek_high_word(sum, o->multiplier[channel]);
    const int32_t scaled = o->zero_point + ((high + half) >> shift);
    const int32_t floored = scaled < o->minimum ? o->minimum : scaled;
    return (int8_t)(floored > o->maximum ? o->maximum : floored);
}

EK_INLINE int8_t ek_scale_once_wide(const ek_dense_wide_output *o, int32_t channel, int32_t sum) {
    const int64_t half = (int64_t)1 << (o->shift - 1);
    const int64_t scaled = o->zero_point + ((sum * o->multiplier[channel] + half) >> o->shift);
    const int64_t floored = scaled < o->minimum ? o->minimum : scaled;
    return (int8_t)(floored > o->maximum ? o->maximum : floored);
}

#endif

/* Scaling with one rounding, half away from zero, for fully connected layers: LiteRT's reference
 * kernel multiplies sums in double precision.
 *
 * An integer product with 31 bits of the factor is off by less than 2^30 + 2^9 of its 2^(32 + shift)
 * to the step of an output. Its high word therefore tells the output wherever that word is not the
 * last before a step or the first behind it; there, doubles decide.
 */
#ifndef EK_SCALE_REAL_H
#define EK_SCALE_REAL_H

#include "ek_compiler.h"
#include "ek_int16_kernels.h"
#include "ek_requantize.h"

typedef char ek_double_must_have_64_bits[sizeof(double) == 8 ? 1 : -1];

/* The product is volatile so that it is rounded to a double: a fused multiply-add would keep more
 * bits, and the last one decides ties. */
EK_INLINE int16_t ek_scale_double(const ek_real_output_16 *o, double factor, int64_t sum) {
    const volatile double rounded = (double)sum * factor;
    const double product = rounded;
    if (product <= o->minimum) {
        return (int16_t)o->minimum;
    }
    if (product >= o->maximum) {
        return (int16_t)o->maximum;
    }
    return (int16_t)(product < 0.0 ? product - 0.5 : product + 0.5);
}

EK_INLINE int16_t ek_scale_real(const ek_real_output_16 *o, int32_t channel, int64_t sum) {
    const int32_t entry = channel & o->channels, shift = o->shift[entry];
    if (sum >= INT32_MIN && sum <= INT32_MAX) {
        const int32_t high = (int32_t)(((int32_t)sum * (int64_t)o->multiplier[entry]) >> 32);
        const int32_t raised = high + ((int32_t)1 << (shift - 1));
        const int32_t mask = ((int32_t)1 << shift) - 1, fraction = raised & mask;
        if (fraction != 0 && fraction != mask) {
            return (int16_t)ek_clamp(raised >> shift, o->minimum, o->maximum);
        }
    }
    return ek_scale_double(o, o->factor[entry], sum);
}

#endif

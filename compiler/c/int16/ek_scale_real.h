/* Scaling with one rounding, half away from zero, for fully connected layers. */
#ifndef EK_SCALE_REAL_H
#define EK_SCALE_REAL_H

#include "ek_compiler.h"

typedef char ek_double_must_have_64_bits[sizeof(double) == 8 ? 1 : -1];

/* The product is volatile so that it is rounded to a double: a fused multiply-add would keep more
 * bits, and the last one decides ties. */
EK_INLINE int16_t ek_scale_real(double sum, double factor, int32_t minimum, int32_t maximum) {
    const volatile double rounded = sum * factor;
    const double product = rounded;
    if (product <= minimum) {
        return (int16_t)minimum;
    }
    if (product >= maximum) {
        return (int16_t)maximum;
    }
    return (int16_t)(product < 0.0 ? product - 0.5 : product + 0.5);
}

#endif

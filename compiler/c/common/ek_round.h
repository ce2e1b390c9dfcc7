/* From a real number to a code. */
#ifndef EK_ROUND_H
#define EK_ROUND_H

#include "ek_compiler.h"
#include "ek_float_kernels.h"

/* Divided in single precision, rounded half away from zero, saturated; no number is `minimum`. */
EK_INLINE int32_t ek_rounded(const ek_float_params *p, float x, int32_t minimum, int32_t maximum) {
    const float steps = x / p->scale;
    if (!(steps > (float)(minimum - p->zero_point))) {
        return minimum;
    }
    if (steps >= (float)(maximum - p->zero_point)) {
        return maximum;
    }
    const int32_t whole = (int32_t)steps;
    const float rest = steps - (float)whole;
    return whole + (rest >= 0.5f ? 1 : (rest <= -0.5f ? -1 : 0)) + p->zero_point;
}

#endif

/* From a channel's sum to its output. */
#ifndef EK_FINISH_16_H
#define EK_FINISH_16_H

#include "ek_compiler.h"
#include "ek_int16_kernels.h"
#include "ek_requantize.h"

/* x * multiplier / 2^shift, ties up; x has at most 47 bits and a sign, multiplier 15. */
EK_INLINE int64_t ek_scale_wide(int64_t x, int32_t multiplier, int32_t shift) {
    return (x * multiplier + ((int64_t)1 << (shift - 1))) >> shift;
}

EK_INLINE int16_t ek_clamp_wide(int64_t x, int32_t minimum, int32_t maximum) {
    return (int16_t)(x < minimum ? minimum : (x > maximum ? maximum : x));
}

/* The bias is not part of `sum`. */
EK_INLINE int16_t ek_finish_16(const ek_output_16 *o, int32_t channel, int64_t sum) {
    const int64_t scaled =
        ek_scale_wide(sum + o->bias[channel], o->multiplier[channel], o->shift[channel]);
    return ek_clamp_wide(scaled, o->minimum, o->maximum);
}

#endif

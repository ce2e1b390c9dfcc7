/* What sums and differences share: 20 bits of headroom keep both exact in 32 bits. */
#ifndef EK_SUM_H
#define EK_SUM_H

#include "ek_broadcast.h"
#include "ek_requantize.h"

EK_INLINE int32_t ek_widened(const ek_addend *addend, int8_t q) {
    const int32_t difference = (q - addend->zero_point) * ((int32_t)1 << 20);
    return ek_scale(difference, addend->multiplier, addend->shift);
}

EK_INLINE int8_t ek_summed(const ek_sum_params *p, int32_t sum) {
    const int32_t scaled = ek_scale_bounded(sum, p->output_multiplier, p->output_shift);
    return (int8_t)ek_clamp(scaled + p->output_zero_point, p->minimum, p->maximum);
}

#endif

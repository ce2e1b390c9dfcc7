/* What sums and differences share: EK_FINER_BITS of headroom keep both exact in 32 bits. */
#ifndef EK_SUM_H
#define EK_SUM_H

#include "ek_broadcast.h"
#include "ek_requantize.h"

EK_INLINE int32_t ek_widened(const ek_addend *addend, ek_code q) {
    const int32_t difference = (q - addend->zero_point) * ((int32_t)1 << EK_FINER_BITS);
    return ek_scale(difference, addend->multiplier, addend->shift);
}

EK_INLINE ek_code ek_summed(const ek_sum_params *p, int32_t sum) {
    const int32_t scaled = ek_scale_bounded(sum, p->output_multiplier, p->output_shift);
    return (ek_code)ek_clamp(scaled + p->output_zero_point, p->minimum, p->maximum);
}

#endif

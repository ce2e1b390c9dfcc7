/* Sums of two tensors: both are brought to one scale with 20 bits more, added, scaled back. */
#ifndef EK_DSP_ADD_H
#define EK_DSP_ADD_H

#include "ek_finish.h"

/* round(round((q - zero_point) * 2^20 * multiplier / 2^31) / 2^shift); `offset` is
 * -zero_point * 2^21, `half` is 2^shift. */
EK_INLINE int32_t ek_dsp_widen(int8_t q, int32_t offset, int32_t multiplier, int32_t half,
                               int32_t shift) {
    const int32_t r = ek_high_multiply32(q * (1 << 21) + offset, multiplier);
    return (half + 2 * r + (r >> 31)) >> (shift + 1);
}

EK_INLINE void ek_dsp_add(const ek_add_params *p, const int8_t *a, const int8_t *b,
                          int8_t *output, ek_finisher finish) {
    const ek_addend pa = p->a, pb = p->b;
    const int32_t shift_a = -pa.shift, shift_b = -pb.shift;
    const int32_t half_a = (int32_t)1 << shift_a, half_b = (int32_t)1 << shift_b;
    const int32_t offset_a = -pa.zero_point * (1 << 21), offset_b = -pb.zero_point * (1 << 21);
    ek_factor factor;
    factor.multiplier = p->output_multiplier;
    factor.shift = -p->output_shift;
    factor.offset = (int32_t)((uint32_t)(2 * p->output_zero_point + 1) << factor.shift);
    factor.minimum = p->minimum;
    factor.maximum = p->maximum;
    for (const int8_t *const end = a + p->size; a != end;) {
        const int32_t x = ek_dsp_widen(*a++, offset_a, pa.multiplier, half_a, shift_a);
        const int32_t y = ek_dsp_widen(*b++, offset_b, pb.multiplier, half_b, shift_b);
        *output++ = finish(2 * (x + y), &factor);
    }
}

#endif

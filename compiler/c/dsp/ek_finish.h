/* From sums to outputs: gemmlowp's double rounding (ek_requantize.h) in few instructions.
 *
 * A factor is multiplier * 2^(-shift - 31) with shift >= 0, and sums and shifts are such that
 * nothing here overflows; other layers take the portable kernels. With
 * r = round(sum * multiplier / 2^31) an output is zero_point + round(r / 2^shift), ties away from
 * zero. Doubled, a negative r can be nudged by less than a half, which is right for shift 0 too:
 * (2 r - (r < 0) + (2 zero_point + 1) 2^shift) >> (shift + 1).
 */
#ifndef EK_FINISH_H
#define EK_FINISH_H

#include "ek_dsp.h"
#include "ek_dsp_kernels.h"

/* The factor of one channel; offset is (2 zero_point + 1) 2^shift. */
typedef struct {
    int32_t multiplier, shift, offset;
    int32_t minimum, maximum;
} ek_factor;

/* Takes twice the sum: the instruction multiplies by 2^-32 of it. */
typedef int8_t (*ek_finisher)(int32_t twice, const ek_factor *f);

EK_INLINE ek_factor ek_factor_of(const ek_output *o, int32_t channel) {
    ek_factor f;
    f.multiplier = o->multiplier[channel];
    f.shift = -o->shift[channel];
    f.offset = (int32_t)((uint32_t)(2 * o->zero_point + 1) << f.shift);
    f.minimum = o->minimum;
    f.maximum = o->maximum;
    return f;
}

/* Where the smallest output is the zero point and -128, negative sums saturate anyway. */
EK_INLINE int8_t ek_finish_rectified(int32_t twice, const ek_factor *f) {
    return ek_saturate8(ek_high_multiply_add(twice, f->multiplier, f->offset >> 1) >> f->shift);
}

EK_INLINE int32_t ek_scaled(int32_t twice, const ek_factor *f) {
    const int32_t r = ek_high_multiply32(twice, f->multiplier);
    return (f->offset + 2 * r + (r >> 31)) >> (f->shift + 1);
}

EK_INLINE int8_t ek_finish_signed(int32_t twice, const ek_factor *f) {
    return ek_saturate8(ek_scaled(twice, f));
}

/* Any range of outputs. */
EK_INLINE int8_t ek_finish_clamped(int32_t twice, const ek_factor *f) {
    const int32_t scaled = ek_scaled(twice, f);
    const int32_t floored = scaled < f->minimum ? f->minimum : scaled;
    return (int8_t)(floored > f->maximum ? f->maximum : floored);
}

#endif

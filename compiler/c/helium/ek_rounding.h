/* From sums to outputs with gemmlowp's double rounding (ek_requantize.h), four at a time.
 *
 * A factor is multiplier * 2^(shift - 31) with shift <= 0; other layers take the portable kernels.
 */
#ifndef EK_ROUNDING_H
#define EK_ROUNDING_H

#include "ek_helium.h"
#include "ek_kernels.h"

/* product / 2^-shifts, half away from zero. */
typedef ek_words (*ek_rounder)(ek_words product, ek_words shifts);

/* Where the smallest output is the zero point and -128, negative ones saturate however they are
 * rounded. */
EK_INLINE ek_words ek_round_rectified(ek_words product, ek_words shifts) {
    return ek_shifted(product, shifts);
}

EK_INLINE ek_words ek_round_clamped(ek_words product, ek_words shifts) {
    return ek_shifted(ek_nudged(product, shifts), shifts);
}

/* What all outputs have in common, each in every lane. */
typedef struct {
    ek_words zero_point, minimum, maximum;
} ek_word_range;

EK_INLINE ek_word_range ek_word_range_of(int32_t zero_point, int32_t minimum, int32_t maximum) {
    ek_word_range range;
    range.zero_point = ek_same_words(zero_point);
    range.minimum = ek_same_words(minimum);
    range.maximum = ek_same_words(maximum);
    return range;
}

EK_INLINE ek_words ek_placed(ek_words scaled, const ek_word_range *range) {
    return ek_words_within(ek_add_words(scaled, range->zero_point), range->minimum,
                           range->maximum);
}

#endif

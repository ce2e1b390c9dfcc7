/* Fixed-point scaling with gemmlowp's double rounding, as TensorFlow Lite's reference kernels
 * do it: a factor is multiplier * 2^(shift - 31) with multiplier in [2^30, 2^31), or 0.
 */
#ifndef EK_REQUANTIZE_H
#define EK_REQUANTIZE_H

#include <stdint.h>

/* C leaves >> of a negative number to the compiler; this arithmetic needs the usual one. */
typedef char ek_right_shift_must_keep_the_sign[((int64_t)-1 >> 1) == -1 ? 1 : -1];

/* x * multiplier / 2^31, ties up. multiplier >= 0, so the product cannot saturate. */
static inline int32_t ek_high_multiply(int32_t x, int32_t multiplier) {
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^exponent, ties away from zero; exponent in 0..31. */
static inline int32_t ek_divide_by_power(int32_t x, int32_t exponent) {
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

static inline int32_t ek_scale(int32_t x, int32_t multiplier, int32_t shift) {
    if (shift >= 0) {
        return ek_high_multiply((int32_t)((uint32_t)x << shift), multiplier);
    }
    /* ek_divide_by_power of an exponent >= 1, which INT32_MIN does not reach: the last bit but one
     * rounds up, and ties of negative numbers are one less before. */
    const int32_t product = ek_high_multiply(x, multiplier);
    return (((product + (product >> 31)) >> (-shift - 1)) + 1) >> 1;
}

/* ek_scale for results that are clamped to 16 bits or less and factors of any size: where shifting
 * left leaves 2^30 the result is far outside of them either way. shift <= 31. */
static inline int32_t ek_scale_bounded(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t largest = (int32_t)1 << 30;
    if (shift < 0 || multiplier == 0) {
        return ek_scale(x, multiplier, shift);
    }
    const int64_t shifted = (int64_t)x * ((int64_t)1 << shift);
    if (shifted > largest || shifted < -largest) {
        return shifted > 0 ? largest : -largest;
    }
    return ek_high_multiply((int32_t)shifted, multiplier);
}

static inline int32_t ek_clamp(int32_t x, int32_t minimum, int32_t maximum) {
    return x < minimum ? minimum : (x > maximum ? maximum : x);
}

#endif

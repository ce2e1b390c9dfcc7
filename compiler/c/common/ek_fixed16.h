/* gemmlowp's sigmoid and tanh with int16 as the raw number. Qm.n has m integer bits before n fraction
 * bits; int32 holds them, so that nothing overflows. */
#ifndef EK_FIXED16_H
#define EK_FIXED16_H

#include "ek_requantize.h"

#define EK_ONE16 32767 /* Q0.15 has no 1 */
#define EK_ONE_Q2 8192 /* Q2.13 */

/* exp of minus 1/4, 1/2, 1, 2, 4, 8, 16 in Q0.15 */
static const int16_t ek_exp16_of_powers[7] = {25520, 19875, 12055, 4435, 600, 11, 0};

static inline int32_t ek_bounded16(int32_t x) {
    return x > INT16_MAX ? INT16_MAX : (x < INT16_MIN ? INT16_MIN : x);
}

/* a * b / 2^15, ties up */
static inline int32_t ek_product16(int32_t a, int32_t b) {
    return (a * b + (1 << 14)) >> 15;
}

/* exp of a Q0.15 number in [-1/4, 0): a Taylor polynomial around -1/8. */
static inline int32_t ek_exp16_near_zero(int32_t a) {
    const int32_t x = a + (1 << 12);
    const int32_t x2 = ek_product16(x, x);
    const int32_t x3 = ek_product16(x2, x);
    const int32_t x4 = ek_product16(x2, x2);
    const int32_t series = ek_product16(ek_divide_by_power(x4, 2) + x3, 10923) + x2;
    const int32_t tail = x + ek_divide_by_power(series, 1);
    return ek_bounded16(28918 + ek_product16(tail, 28918));
}

/* exp of a number that is not positive, as Q0.15. */
static inline int32_t ek_exp16(int32_t a, int32_t integer_bits) {
    const int32_t fraction_bits = 15 - integer_bits;
    const int32_t quarter = (int32_t)1 << (fraction_bits - 2);
    const int32_t fraction = (a & (quarter - 1)) - quarter;
    const int32_t remainder = fraction - a;
    int32_t result = ek_exp16_near_zero(fraction * ((int32_t)1 << integer_bits));
    if (a == 0) {
        return EK_ONE16;
    }
    if (integer_bits > 5 && a < -((int32_t)32 << fraction_bits)) {
        return 0;
    }
    for (int32_t power = 0; power < integer_bits + 2 && power < 7; power++) {
        if ((remainder >> (fraction_bits - 2 + power)) & 1) {
            result = ek_product16(result, ek_exp16_of_powers[power]);
        }
    }
    return result;
}

/* 2 / (1 + a) of a Q0.15 number in [0, 1), as Q2.13: three steps of Newton and Raphson. */
static inline int32_t ek_newton16(int32_t a) {
    const int32_t half = (a + EK_ONE16 + 1) >> 1;
    int32_t x = 23130 + ek_product16(half, -15420);
    for (int32_t step = 0; step < 3; step++) {
        const int32_t error = EK_ONE_Q2 - ek_product16(half, x);
        x += ek_bounded16(ek_product16(x, error) * 4);
    }
    return x;
}

/* Q0.15 of Q3.12. */
static inline int32_t ek_sigmoid16(int32_t x) {
    const int32_t negative = x < 0 ? x : -x;
    const int32_t positive = ek_bounded16(ek_newton16(ek_exp16(negative, 3)) * 2);
    if (x == 0) {
        return 1 << 14;
    }
    return x > 0 ? positive : EK_ONE16 - positive;
}

/* Q0.15 of a number with 0 to 6 integer bits. */
static inline int32_t ek_tanh16(int32_t x, int32_t integer_bits) {
    const int32_t negative = x < 0 ? x : -x;
    const int32_t power = ek_exp16(negative, integer_bits + 1); /* of twice the number */
    const int32_t positive = ek_bounded16((ek_newton16(power) - EK_ONE_Q2) * 4);
    if (x == 0) {
        return 0;
    }
    return x > 0 ? positive : -positive;
}

#endif

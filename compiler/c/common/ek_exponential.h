/* gemmlowp's fixed-point exponential and reciprocal. Qm.n is a raw int32 with n fraction bits. */
#ifndef EK_EXPONENTIAL_H
#define EK_EXPONENTIAL_H

#include "ek_requantize.h"

#define EK_QUARTER ((int32_t)1 << 24) /* Q5.26 */

static const int32_t ek_exp_of_bits[7] = {/* exp of minus 1/4, 1/2, 1, 2, 4, 8, 16 in Q0.31 */
    1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242,
};

static inline int32_t ek_saturate(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : (x < INT32_MIN ? INT32_MIN : (int32_t)x);
}

/* exp of a Q0.31 number in [-1/4, 0): a Taylor polynomial around -1/8. */
static inline int32_t ek_exp_near_zero(int32_t a) {
    const int32_t x = a + ((int32_t)1 << 28);
    const int32_t x2 = ek_high_multiply(x, x);
    const int32_t x3 = ek_high_multiply(x2, x);
    const int32_t x4 = ek_high_multiply(x2, x2);
    const int32_t third = ek_high_multiply(ek_divide_by_power(x4, 2) + x3, 715827883);
    const int32_t tail = x + ek_divide_by_power(third + x2, 1);
    return 1895147668 + ek_high_multiply(tail, 1895147668);
}

/* exp of a Q5.26 number that is not positive, as Q0.31. */
static inline int32_t ek_exp_of(int32_t a) {
    const int32_t fraction = (a & (EK_QUARTER - 1)) - EK_QUARTER;
    const int32_t remainder = fraction - a;
    int32_t result = ek_exp_near_zero(fraction * 32);
    for (int32_t bit = 0; bit < 7; bit++) {
        if ((remainder >> (24 + bit)) & 1) {
            result = ek_high_multiply(result, ek_exp_of_bits[bit]);
        }
    }
    return a == 0 ? INT32_MAX : result;
}

/* 1 / (1 + a) of a Q0.31 number in [0, 1): three steps of Newton and Raphson in Q2.29. */
static inline int32_t ek_one_over_one_plus(int32_t a) {
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + ek_high_multiply(-1010580540, half);
    for (int32_t step = 0; step < 3; step++) {
        const int32_t error = ((int32_t)1 << 29) - ek_high_multiply(x, half);
        x += ek_saturate((int64_t)ek_high_multiply(x, error) * 4);
    }
    return ek_saturate((int64_t)x * 2);
}

#endif

#include "ek_kernels.h"
#include "ek_requantize.h"

/* gemmlowp's fixed-point exponential and reciprocal. Qm.n is a raw int32 with n fraction bits;
 * the output has scale 1/256 and zero point -128.
 */

#define ONE INT32_MAX             /* Q0.31 */
#define QUARTER ((int32_t)1 << 24) /* Q5.26 */

static const int32_t exp_of_bits[7] = {/* exp of minus 1/4, 1/2, 1, 2, 4, 8, 16 in Q0.31 */
    1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242,
};

static int32_t saturate(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : (x < INT32_MIN ? INT32_MIN : (int32_t)x);
}

/* exp of a Q0.31 number in [-1/4, 0): a Taylor polynomial around -1/8. */
static int32_t exp_near_zero(int32_t a) {
    const int32_t x = a + ((int32_t)1 << 28);
    const int32_t x2 = ek_high_multiply(x, x);
    const int32_t x3 = ek_high_multiply(x2, x);
    const int32_t x4 = ek_high_multiply(x2, x2);
    const int32_t third = ek_high_multiply(ek_divide_by_power(x4, 2) + x3, 715827883);
    const int32_t tail = x + ek_divide_by_power(third + x2, 1);
    return 1895147668 + ek_high_multiply(tail, 1895147668);
}

/* exp of a Q5.26 number that is not positive, as Q0.31. */
static int32_t exp_of(int32_t a) {
    const int32_t fraction = (a & (QUARTER - 1)) - QUARTER;
    const int32_t remainder = fraction - a;
    int32_t result = exp_near_zero(fraction * 32);
    for (int32_t bit = 0; bit < 7; bit++) {
        if ((remainder >> (24 + bit)) & 1) {
            result = ek_high_multiply(result, exp_of_bits[bit]);
        }
    }
    return a == 0 ? ONE : result;
}

/* 1 / (1 + a) of a Q0.31 number in [0, 1): three steps of Newton and Raphson in Q2.29. */
static int32_t one_over_one_plus(int32_t a) {
    const int32_t half = (int32_t)(((int64_t)a + ONE + 1) >> 1);
    int32_t x = 1515870810 + ek_high_multiply(-1010580540, half);
    for (int32_t step = 0; step < 3; step++) {
        const int32_t error = ((int32_t)1 << 29) - ek_high_multiply(x, half);
        x += saturate((int64_t)ek_high_multiply(x, error) * 4);
    }
    return saturate((int64_t)x * 2);
}

static int32_t power(const ek_softmax_params *p, int32_t difference) {
    return exp_of(ek_high_multiply((int32_t)((uint32_t)difference << p->shift), p->multiplier));
}

static void softmax_row(const ek_softmax_params *p, const int8_t *input, int8_t *output) {
    int32_t largest = INT8_MIN;
    for (int32_t i = 0; i < p->classes; i++) {
        largest = input[i] > largest ? input[i] : largest;
    }
    int32_t sum = 0; /* Q12.19 */
    for (int32_t i = 0; i < p->classes; i++) {
        const int32_t difference = input[i] - largest;
        sum += difference < p->smallest ? 0 : ek_divide_by_power(power(p, difference), 12);
    }
    int32_t headroom = 0;
    while (((uint32_t)sum << headroom) < ((uint32_t)1 << 31)) {
        headroom++;
    }
    const int32_t inverse =
        one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - ((uint32_t)1 << 31)));
    /* Q0.31 times 2^(headroom - 12) is left; 8 of its bits are the output. */
    const int32_t exponent = 12 - headroom + 31 - 8;
    for (int32_t i = 0; i < p->classes; i++) {
        const int32_t difference = input[i] - largest;
        int32_t share = 0;
        if (difference >= p->smallest) {
            share = ek_divide_by_power(ek_high_multiply(power(p, difference), inverse), exponent);
        }
        output[i] = (int8_t)ek_clamp(share - 128, -128, 127);
    }
}

void ek_softmax(const ek_softmax_params *p, const int8_t *input, int8_t *output) {
    for (int32_t row = 0; row < p->rows; row++) {
        softmax_row(p, input + row * p->classes, output + row * p->classes);
    }
}

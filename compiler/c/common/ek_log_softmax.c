#include "ek_axes_kernels.h"
#include "ek_logits.h"

/* The output has scale 1/16 and zero point 127. Constants of the logarithm are Q0.31. */

#define ROOT_OF_HALF 1518500250
#define ROOT_OF_ROOT_OF_HALF 1805811301
#define LOG_2 1488522236

/* log of a Q0.31 number around the fourth root of 1/2 as Q6.25: a quotient of polynomials. */
static int32_t log_near_root(int32_t r) {
    const int32_t mean = (int32_t)(((int64_t)r + ROOT_OF_ROOT_OF_HALF + 1) >> 1);
    const int32_t q = (r - ROOT_OF_ROOT_OF_HALF) * 2;
    const int32_t square = ek_high_multiply(q, q);
    const int32_t cubic = ek_high_multiply(ek_high_multiply(q, square), 117049297);
    const int32_t numerator = ek_high_multiply(q, r) + cubic;
    const int32_t quadratic = ek_high_multiply(square, 127690142);
    const int32_t denominator = ek_high_multiply(mean, 1057819769 + q + quadratic) +
                                ek_high_multiply(q, 638450708);
    return ek_high_multiply(ek_divide_by_power(numerator, 6), ek_one_over_one_plus(denominator));
}

/* log of a Q12.19 number that is at least 1, as Q5.26: x = 2^k * r, where of two ways to choose k
 * the one with the smaller r is taken. */
static int32_t log_of_sum(int32_t x) {
    const int32_t zeros = ek_headroom(x) - 1;
    const int32_t shifted = (int32_t)((uint32_t)x << zeros);
    const int32_t first = ek_saturate((int64_t)ek_high_multiply(shifted, ROOT_OF_HALF) * 2);
    const int32_t first_power = (11 - zeros) * ((int32_t)1 << 25) + ((int32_t)1 << 23);
    const int32_t other_zeros = ek_headroom(ek_high_multiply(x, ROOT_OF_HALF)) - 1;
    const int32_t other = ek_saturate((int64_t)x * ((int64_t)1 << other_zeros));
    const int32_t other_power = (12 - other_zeros) * ((int32_t)1 << 25) - ((int32_t)1 << 23);
    const int32_t power = first_power > other_power ? first_power : other_power;
    const int32_t rest = log_near_root(first < other ? first : other);
    return ek_saturate(((int64_t)ek_high_multiply(power, LOG_2) + rest) * 2);
}

static void log_softmax_row(const ek_softmax_params *p, const int8_t *input, int8_t *output) {
    const int32_t largest = ek_largest_logit(p, input);
    const int32_t log_sum = log_of_sum(ek_sum_of_powers(p, input, largest));
    for (int32_t i = 0; i < p->classes; i++) {
        const int32_t difference = input[i] - largest;
        int32_t code = INT8_MIN;
        if (difference >= p->smallest) {
            const int64_t share = (int64_t)ek_scaled_logit(p, difference) - log_sum;
            code = ek_divide_by_power(ek_saturate(share), 22) + 127;
        }
        output[i] = (int8_t)ek_clamp(code, INT8_MIN, INT8_MAX);
    }
}

void ek_log_softmax(const ek_softmax_params *p, const int8_t *input, int8_t *output) {
    for (int32_t row = 0; row < p->rows; row++) {
        log_softmax_row(p, input + row * p->classes, output + row * p->classes);
    }
}

#include "ek_exponential.h"
#include "ek_kernels.h"

/* The output has scale 1/256 and zero point -128. */

static int32_t power(const ek_softmax_params *p, int32_t difference) {
    return ek_exp_of(ek_high_multiply((int32_t)((uint32_t)difference << p->shift), p->multiplier));
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
        ek_one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - ((uint32_t)1 << 31)));
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

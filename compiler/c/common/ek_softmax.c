#include "ek_logits.h"

/* The output has scale 1/256 and zero point -128. */

static void softmax_row(const ek_softmax_params *p, const int8_t *input, int8_t *output) {
    const int32_t largest = ek_largest_logit(p, input);
    const int32_t sum = ek_sum_of_powers(p, input, largest);
    const int32_t headroom = ek_headroom(sum);
    const int32_t inverse =
        ek_one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - ((uint32_t)1 << 31)));
    /* Q0.31 times 2^(headroom - 12) is left; 8 of its bits are the output. */
    const int32_t exponent = 12 - headroom + 31 - 8;
    for (int32_t i = 0; i < p->classes; i++) {
        const int32_t difference = input[i] - largest;
        int32_t share = 0;
        if (difference >= p->smallest) {
            const int32_t power = ek_exp_of(ek_scaled_logit(p, difference));
            share = ek_divide_by_power(ek_high_multiply(power, inverse), exponent);
        }
        output[i] = (int8_t)ek_clamp(share - 128, -128, 127);
    }
}

void ek_softmax(const ek_softmax_params *p, const int8_t *input, int8_t *output) {
    for (int32_t row = 0; row < p->rows; row++) {
        softmax_row(p, input + row * p->classes, output + row * p->classes);
    }
}

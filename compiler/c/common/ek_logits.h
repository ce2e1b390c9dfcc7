/* What softmax and log softmax begin with: the largest logit, and the sum of the exponentials of
 * what the others lack to it.
 */
#ifndef EK_LOGITS_H
#define EK_LOGITS_H

#include "ek_exponential.h"
#include "ek_kernels.h"

/* A difference of logits as Q5.26. */
static inline int32_t ek_scaled_logit(const ek_softmax_params *p, int32_t difference) {
    return ek_high_multiply((int32_t)((uint32_t)difference << p->shift), p->multiplier);
}

static inline int32_t ek_largest_logit(const ek_softmax_params *p, const int8_t *input) {
    int32_t largest = INT8_MIN;
    for (int32_t i = 0; i < p->classes; i++) {
        largest = input[i] > largest ? input[i] : largest;
    }
    return largest;
}

/* Q12.19; differences below `smallest` count as nothing. */
static inline int32_t ek_sum_of_powers(const ek_softmax_params *p, const int8_t *input,
                                       int32_t largest) {
    int32_t sum = 0;
    for (int32_t i = 0; i < p->classes; i++) {
        const int32_t difference = input[i] - largest;
        if (difference >= p->smallest) {
            sum += ek_divide_by_power(ek_exp_of(ek_scaled_logit(p, difference)), 12);
        }
    }
    return sum;
}

/* Of a positive number: how often it can be doubled before it fills 32 bits. */
static inline int32_t ek_headroom(int32_t x) {
    int32_t count = 0;
    while (((uint32_t)x << count) < ((uint32_t)1 << 31)) {
        count++;
    }
    return count;
}

#endif

/* Fully connected layers: one column, four rows of weights at a time.
 *
 * Words hold two channels a, b and two taps i, j as ek_dot.h says, but b less 1 where a is negative:
 * so each half is the number a + 256 b, and one product serves both channels. With
 * A = sum of x a and R = sum of x (a + 256 b), the other sum is (R - A) / 256: only the bytes of a
 * have to be taken apart. Sums of b lie within 23 bits and a sign, weights are -127 or more.
 */
#ifndef EK_DSP_FULLY_CONNECTED_H
#define EK_DSP_FULLY_CONNECTED_H

#include "ek_column.h"
#include "ek_dsp.h"
#include "ek_dsp_kernels.h"
#include "ek_single_rounding.h"

/* The input as a column; the taps after its last one are 0. */
EK_INLINE void ek_dense_column(const int8_t *input, int32_t size, uint32_t *column) {
    const int32_t whole = size & ~3;
    int8_t rest[4] = {0, 0, 0, 0};
    column = ek_expand(input, whole, column, 1);
    if (whole != size) {
        for (int32_t i = whole; i < size; i++) {
            rest[i - whole] = input[i];
        }
        ek_expand4(ek_load4(rest), column, 1);
    }
}

/* Sums of two channels as they are gathered: of a, and of a + 256 b, modulo 2^32. */
typedef struct {
    int32_t a;
    uint32_t both;
} ek_two;

EK_INLINE ek_two ek_two_of(const int32_t bias[2]) {
    ek_two sums;
    sums.a = bias[0];
    sums.both = (uint32_t)bias[0] + ((uint32_t)bias[1] << 8);
    return sums;
}

EK_INLINE int32_t ek_two_b(const ek_two *sums) {
    return (int32_t)(sums->both - (uint32_t)sums->a) >> 8;
}

#if EK_DSP_INSTRUCTIONS

#define EK_STEP_TWO(w, a, both)                                                                    \
    "ldrd %[t], %[u], [%[" w "]], #8\n"                                                            \
    "sxtb16 %[v], %[t]\n"                                                                          \
    "smlad %[" both "], %[x0], %[t], %[" both "]\n"                                                \
    "smlad %[" a "], %[x0], %[v], %[" a "]\n"                                                      \
    "sxtb16 %[v], %[u]\n"                                                                          \
    "smlad %[" both "], %[x1], %[u], %[" both "]\n"                                                \
    "smlad %[" a "], %[x1], %[v], %[" a "]\n"
#define EK_STEP_FOUR                                                                               \
    "ldrd %[x0], %[x1], [%[c]], #8\n" EK_STEP_TWO("w0", "a0", "r0") EK_STEP_TWO("w1", "a1", "r1")

/* Four channels of two rows of words; pairs are even. */
EK_INLINE void ek_dense_dot(const uint32_t *column, const uint32_t *w0, const uint32_t *w1,
                            int32_t pairs, ek_two *first, ek_two *second) {
    const uint32_t *const unrolled_end = column + (pairs & ~7);
    const uint32_t *const end = column + pairs;
    int32_t a0 = first->a, a1 = second->a;
    uint32_t r0 = first->both, r1 = second->both;
    uint32_t x0, x1, t, u, v;
    __asm__ volatile(
        "cmp %[c], %[unrolled_end]\n"
        "beq 2f\n"
        "1:\n" EK_STEP_FOUR EK_STEP_FOUR EK_STEP_FOUR EK_STEP_FOUR
        "cmp %[c], %[unrolled_end]\n"
        "bne 1b\n"
        "2:\n"
        "ldr %[t], %[end]\n"
        "cmp %[c], %[t]\n"
        "beq 4f\n"
        "3:\n" EK_STEP_FOUR
        "ldr %[t], %[end]\n"
        "cmp %[c], %[t]\n"
        "bne 3b\n"
        "4:\n"
        : [a0] "+r"(a0), [a1] "+r"(a1), [r0] "+r"(r0), [r1] "+r"(r1), [c] "+r"(column),
          [w0] "+r"(w0), [w1] "+r"(w1), [x0] "=&r"(x0), [x1] "=&r"(x1), [t] "=&r"(t),
          [u] "=&r"(u), [v] "=&r"(v)
        : [unrolled_end] "r"(unrolled_end), [end] "m"(end)
        : "cc", "memory");
    first->a = a0, first->both = r0;
    second->a = a1, second->both = r1;
}

#endif

/* Two channels of one row of words. */
EK_INLINE void ek_dense_dot_two(const uint32_t *column, const uint32_t *weights, int32_t pairs,
                                ek_two *sums) {
    for (int32_t pair = 0; pair < pairs; pair++) {
        sums->a = ek_dot2(column[pair], ek_even(weights[pair]), sums->a);
        sums->both += (uint32_t)ek_dot2(column[pair], weights[pair], 0);
    }
}

#if !EK_DSP_INSTRUCTIONS

EK_INLINE void ek_dense_dot(const uint32_t *column, const uint32_t *w0, const uint32_t *w1,
                            int32_t pairs, ek_two *first, ek_two *second) {
    ek_dense_dot_two(column, w0, pairs, first);
    ek_dense_dot_two(column, w1, pairs, second);
}

#endif

/* A last single channel, whose words hold taps in order. */
EK_INLINE int32_t ek_dense_dot_one(const uint32_t *column, const uint32_t *weights, int32_t pairs,
                                   int32_t sum) {
    for (int32_t pair = 0; pair < pairs; pair += 2) {
        sum = ek_dot2(column[pair], ek_even(*weights), sum);
        sum = ek_dot2(column[pair + 1], ek_odd(*weights++), sum);
    }
    return sum;
}

EK_INLINE void ek_dsp_dense_row(const ek_dsp_dense *p, const void *scaling,
                                const uint32_t *column, int8_t *output,
                                ek_dense_finisher finish) {
    const int32_t pairs = p->pairs, size = p->out_size;
    const uint32_t *weights = p->weights;
    const int32_t *bias = p->bias;
    int32_t channel = 0;
    for (; channel + 4 <= size; channel += 4) {
        ek_two first = ek_two_of(bias), second = ek_two_of(bias + 2);
        ek_dense_dot(column, weights, weights + pairs, pairs, &first, &second);
        weights += 2 * pairs;
        bias += 4;
        output[channel] = finish(scaling, channel, first.a);
        output[channel + 1] = finish(scaling, channel + 1, ek_two_b(&first));
        output[channel + 2] = finish(scaling, channel + 2, second.a);
        output[channel + 3] = finish(scaling, channel + 3, ek_two_b(&second));
    }
    if (channel + 2 <= size) {
        ek_two sums = ek_two_of(bias);
        ek_dense_dot_two(column, weights, pairs, &sums);
        weights += pairs;
        bias += 2;
        output[channel] = finish(scaling, channel, sums.a);
        output[channel + 1] = finish(scaling, channel + 1, ek_two_b(&sums));
        channel += 2;
    }
    if (channel < size) {
        output[channel] =
            finish(scaling, channel, ek_dense_dot_one(column, weights, pairs, *bias));
    }
}

/* scratch: a column, 4 * pairs bytes. */
EK_INLINE void ek_dsp_dense_rows(const ek_dsp_dense *p, const void *scaling, const int8_t *input,
                                 int8_t *output, void *scratch, ek_dense_finisher finish) {
    for (int32_t row = 0; row < p->rows; row++) {
        ek_dense_column(input, p->in_size, scratch);
        ek_dsp_dense_row(p, scaling, scratch, output, finish);
        input += p->in_size;
        output += p->out_size;
    }
}

#endif

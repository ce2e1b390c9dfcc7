/* Sums of products of int8 weights with columns of int16, two taps at a time.
 *
 * A word of weights holds two output channels a, b and the taps i, j of one pair: bytes a_i, b_i,
 * a_j, b_j. A word of a column holds the taps i (low half) and j of one pixel. Taps 0..3 are the
 * pairs (0, 2) and (1, 3), and so on: the order in which ek_even and ek_odd take bytes apart.
 *
 * The loops are blocks of assembly because they need every register that a Cortex-M has; GCC
 * spills in the middle of them when it chooses. They are unrolled to hide the loop's own cost.
 * LDRD asks for words at multiples of 4 bytes, which columns and weights are.
 */
#ifndef EK_DOT_H
#define EK_DOT_H

#include "ek_dsp.h"

#if EK_DSP_INSTRUCTIONS

#define EK_STEP_4X2                                                                                \
    "ldr %[u], [%[w]], #4\n"                                                                       \
    "ldrd %[x0], %[x1], [%[c]], #8\n"                                                              \
    "sxtb16 %[t], %[u]\n"                                                                          \
    "sxtb16 %[u], %[u], ror #8\n"                                                                  \
    "smlad %[a0], %[x0], %[t], %[a0]\n"                                                            \
    "smlad %[a1], %[x1], %[t], %[a1]\n"                                                            \
    "smlad %[b0], %[x0], %[u], %[b0]\n"                                                            \
    "smlad %[b1], %[x1], %[u], %[b1]\n"                                                            \
    "ldrd %[x0], %[x1], [%[c]], #8\n"                                                              \
    "smlad %[a2], %[x0], %[t], %[a2]\n"                                                            \
    "smlad %[a3], %[x1], %[t], %[a3]\n"                                                            \
    "smlad %[b2], %[x0], %[u], %[b2]\n"                                                            \
    "smlad %[b3], %[x1], %[u], %[b3]\n"
#define EK_STEP_4X2_TWICE EK_STEP_4X2 EK_STEP_4X2

/* Four pixels, two channels. `columns` is [pairs][4]; `a` and `b` are the channels' sums. */
EK_INLINE void ek_dot_4x2(const uint32_t *columns, const uint32_t *weights, int32_t pairs,
                          int32_t a[4], int32_t b[4]) {
    const uint32_t *const unrolled_end = columns + (pairs & ~7) * 4;
    const uint32_t *const end = columns + pairs * 4;
    int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
    int32_t b0 = b[0], b1 = b[1], b2 = b[2], b3 = b[3];
    uint32_t x0, x1, t, u;
    __asm__ volatile(
        "ldr %[t], %[unrolled_end]\n"
        "cmp %[c], %[t]\n"
        "beq 2f\n"
        "1:\n" EK_STEP_4X2_TWICE EK_STEP_4X2_TWICE EK_STEP_4X2_TWICE EK_STEP_4X2_TWICE
        "ldr %[t], %[unrolled_end]\n"
        "cmp %[c], %[t]\n"
        "bne 1b\n"
        "2:\n"
        "ldr %[t], %[end]\n"
        "cmp %[c], %[t]\n"
        "beq 4f\n"
        "3:\n" EK_STEP_4X2_TWICE
        "ldr %[t], %[end]\n"
        "cmp %[c], %[t]\n"
        "bne 3b\n"
        "4:\n"
        : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3), [b0] "+r"(b0),
          [b1] "+r"(b1), [b2] "+r"(b2), [b3] "+r"(b3), [c] "+r"(columns), [w] "+r"(weights),
          [x0] "=&r"(x0), [x1] "=&r"(x1), [t] "=&r"(t), [u] "=&r"(u)
        : [unrolled_end] "m"(unrolled_end), [end] "m"(end)
        : "cc", "memory");
    a[0] = a0, a[1] = a1, a[2] = a2, a[3] = a3;
    b[0] = b0, b[1] = b1, b[2] = b2, b[3] = b3;
}

#define EK_STEP_1X2(w, a, b)                                                                       \
    "ldrd %[t], %[u], [%[" w "]], #8\n"                                                            \
    "sxtb16 %[v], %[t]\n"                                                                          \
    "sxtb16 %[t], %[t], ror #8\n"                                                                  \
    "smlad %[" a "], %[x0], %[v], %[" a "]\n"                                                      \
    "smlad %[" b "], %[x0], %[t], %[" b "]\n"                                                      \
    "sxtb16 %[v], %[u]\n"                                                                          \
    "sxtb16 %[u], %[u], ror #8\n"                                                                  \
    "smlad %[" a "], %[x1], %[v], %[" a "]\n"                                                      \
    "smlad %[" b "], %[x1], %[u], %[" b "]\n"
#define EK_STEP_1X4                                                                                \
    "ldrd %[x0], %[x1], [%[c]], #8\n" EK_STEP_1X2("w0", "s0", "s1") EK_STEP_1X2("w1", "s2", "s3")

/* One pixel, four channels of two rows of weights. `column` is [pairs]; pairs are even. */
EK_INLINE void ek_dot_1x4(const uint32_t *column, const uint32_t *w0, const uint32_t *w1,
                          int32_t pairs, int32_t sums[4]) {
    const uint32_t *const unrolled_end = column + (pairs & ~7);
    const uint32_t *const end = column + pairs;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    uint32_t x0, x1, t, u, v;
    __asm__ volatile(
        "cmp %[c], %[unrolled_end]\n"
        "beq 2f\n"
        "1:\n" EK_STEP_1X4 EK_STEP_1X4 EK_STEP_1X4 EK_STEP_1X4
        "cmp %[c], %[unrolled_end]\n"
        "bne 1b\n"
        "2:\n"
        "ldr %[t], %[end]\n"
        "cmp %[c], %[t]\n"
        "beq 4f\n"
        "3:\n" EK_STEP_1X4
        "ldr %[t], %[end]\n"
        "cmp %[c], %[t]\n"
        "bne 3b\n"
        "4:\n"
        : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [c] "+r"(column),
          [w0] "+r"(w0), [w1] "+r"(w1), [x0] "=&r"(x0), [x1] "=&r"(x1), [t] "=&r"(t),
          [u] "=&r"(u), [v] "=&r"(v)
        : [unrolled_end] "r"(unrolled_end), [end] "m"(end)
        : "cc", "memory");
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

#else

EK_INLINE void ek_dot_4x2(const uint32_t *columns, const uint32_t *weights, int32_t pairs,
                          int32_t a[4], int32_t b[4]) {
    for (int32_t pair = 0; pair < pairs; pair++) {
        const uint32_t even = ek_even(weights[pair]), odd = ek_odd(weights[pair]);
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            a[pixel] = ek_dot2(columns[4 * pair + pixel], even, a[pixel]);
            b[pixel] = ek_dot2(columns[4 * pair + pixel], odd, b[pixel]);
        }
    }
}

EK_INLINE void ek_dot_1x4(const uint32_t *column, const uint32_t *w0, const uint32_t *w1,
                          int32_t pairs, int32_t sums[4]) {
    for (int32_t pair = 0; pair < pairs; pair++) {
        sums[0] = ek_dot2(column[pair], ek_even(w0[pair]), sums[0]);
        sums[1] = ek_dot2(column[pair], ek_odd(w0[pair]), sums[1]);
        sums[2] = ek_dot2(column[pair], ek_even(w1[pair]), sums[2]);
        sums[3] = ek_dot2(column[pair], ek_odd(w1[pair]), sums[3]);
    }
}

#endif

/* One pixel, two channels. */
EK_INLINE void ek_dot_1x2(const uint32_t *column, const uint32_t *weights, int32_t pairs,
                          int32_t sums[2]) {
    for (int32_t pair = 0; pair < pairs; pair++) {
        sums[0] = ek_dot2(column[pair], ek_even(weights[pair]), sums[0]);
        sums[1] = ek_dot2(column[pair], ek_odd(weights[pair]), sums[1]);
    }
}

/* A last single channel, whose words hold the taps 0..3 of a quad in order: four pixels. */
EK_INLINE void ek_dot_4x1(const uint32_t *columns, const uint32_t *weights, int32_t pairs,
                          int32_t sums[4]) {
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    for (const uint32_t *const end = columns + pairs * 4; columns != end; columns += 8) {
        const uint32_t word = *weights++, even = ek_even(word), odd = ek_odd(word);
        s0 = ek_dot2(columns[4], odd, ek_dot2(columns[0], even, s0));
        s1 = ek_dot2(columns[5], odd, ek_dot2(columns[1], even, s1));
        s2 = ek_dot2(columns[6], odd, ek_dot2(columns[2], even, s2));
        s3 = ek_dot2(columns[7], odd, ek_dot2(columns[3], even, s3));
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

/* One pixel. */
EK_INLINE int32_t ek_dot_1x1(const uint32_t *column, const uint32_t *weights, int32_t pairs,
                             int32_t sum) {
    for (int32_t quad = 0; quad < pairs / 2; quad++) {
        sum = ek_dot2(column[2 * quad], ek_even(weights[quad]), sum);
        sum = ek_dot2(column[2 * quad + 1], ek_odd(weights[quad]), sum);
    }
    return sum;
}

#endif

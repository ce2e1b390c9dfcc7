/* Sums of products over a window on a plane of int8: rows of up to nine taps at a time.
 *
 * Weights of a row are words of two halves, each a tap doubled: the taps 0 and 2, then 1 and 3 of
 * a quad; a last tap 0, 4 or 8 has a word of its own. Taps that fill a quad are 0. Words of the plane
 * taken apart by ek_even and ek_odd have the same order, and the odd half of one output is the
 * even half of the next, so that four outputs side by side share five of them.
 */
#ifndef EK_ROWS_DOT_H
#define EK_ROWS_DOT_H

#include "ek_dsp.h"

/* Rows of 1..9 taps, `next` bytes apart on the plane, with words up to `end`. */
typedef struct {
    int32_t taps, next;
    const uint32_t *words, *end;
} ek_rows;

/* Quads of a row of 1..9 taps; the rest is one tap or none. */
EK_INLINE int32_t ek_quads(int32_t taps) {
    return (taps + 2) / 4;
}

EK_INLINE int32_t ek_row_words(int32_t taps) {
    return 2 * ek_quads(taps) + (taps % 4 == 1);
}

/* The words of one row; four bytes are read where a quad has two or three taps. */
EK_INLINE uint32_t *ek_unpack_row(const int8_t *weights, int32_t taps, uint32_t *words) {
    while (taps > 1) {
        const uint32_t bytes = ek_load4(weights);
        const uint32_t even = ek_twice(ek_even(bytes)), odd = ek_twice(ek_odd(bytes));
        words[0] = taps < 3 ? even & 0xFFFFu : even;
        words[1] = taps < 4 ? odd & 0xFFFFu : odd;
        words += 2;
        weights += 4;
        taps -= 4;
    }
    if (taps == 1) {
        *words++ = (uint32_t)(2 * *weights) & 0xFFFFu;
    }
    return words;
}

#if EK_DSP_INSTRUCTIONS

#define EK_QUAD_OF_FOUR(first, second, third)                                                      \
    "ldrd %[w0], %[w1], [%[w]], #8\n"                                                              \
    "ldr %[u], [%[at], #" first "]\n"                                                              \
    "sxtb16 %[e], %[u]\n"                                                                          \
    "sxtb16 %[u], %[u], ror #8\n"                                                                  \
    "smlad %[a0], %[e], %[w0], %[a0]\n"                                                            \
    "smlad %[a0], %[u], %[w1], %[a0]\n"                                                            \
    "smlad %[a1], %[u], %[w0], %[a1]\n"                                                            \
    "ldr %[u], [%[at], #" second "]\n"                                                             \
    "sxtb16 %[e], %[u]\n"                                                                          \
    "sxtb16 %[u], %[u], ror #8\n"                                                                  \
    "smlad %[a1], %[e], %[w1], %[a1]\n"                                                            \
    "smlad %[a2], %[e], %[w0], %[a2]\n"                                                            \
    "smlad %[a2], %[u], %[w1], %[a2]\n"                                                            \
    "smlad %[a3], %[u], %[w0], %[a3]\n"                                                            \
    "ldr %[u], [%[at], #" third "]\n"                                                              \
    "sxtb16 %[e], %[u]\n"                                                                          \
    "smlad %[a3], %[e], %[w1], %[a3]\n"
#define EK_TAP_OF_FOUR(first)                                                                      \
    "ldr %[w0], [%[w]], #4\n"                                                                      \
    "ldr %[u], [%[at], #" first "]\n"                                                              \
    "sxtb16 %[e], %[u]\n"                                                                          \
    "sxtb16 %[u], %[u], ror #8\n"                                                                  \
    "smlabb %[a0], %[e], %[w0], %[a0]\n"                                                           \
    "smlabb %[a1], %[u], %[w0], %[a1]\n"                                                           \
    "smlatb %[a2], %[e], %[w0], %[a2]\n"                                                           \
    "smlatb %[a3], %[u], %[w0], %[a3]\n"
#define EK_ROWS_OF_FOUR(row)                                                                       \
    __asm__ volatile("1:\n" row "add %[at], %[at], %[next]\n"                                      \
                     "cmp %[w], %[end]\n"                                                          \
                     "bne 1b\n"                                                                    \
                     : [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3), [at] "+r"(at),  \
                       [w] "+r"(words), [u] "=&r"(u), [e] "=&r"(e), [w0] "=&r"(w0),                \
                       [w1] "=&r"(w1)                                                              \
                     : [next] "r"(next), [end] "r"(end)                                       \
                     : "cc", "memory")

/* Four windows side by side, the first at `at`. A quad reads up to the eighth byte after its own
 * first. */
EK_INLINE void ek_rows_of_four(const ek_rows *rows, const int8_t *at, int32_t sums[4]) {
    const uint32_t *words = rows->words, *const end = rows->end;
    const int32_t next = rows->next, taps = rows->taps;
    int32_t a0 = sums[0], a1 = sums[1], a2 = sums[2], a3 = sums[3];
    uint32_t u, e, w0, w1;
    if (taps == 1) {
        EK_ROWS_OF_FOUR(EK_TAP_OF_FOUR("0"));
    } else if (taps <= 4) {
        EK_ROWS_OF_FOUR(EK_QUAD_OF_FOUR("0", "2", "4"));
    } else if (taps == 5) {
        EK_ROWS_OF_FOUR(EK_QUAD_OF_FOUR("0", "2", "4") EK_TAP_OF_FOUR("4"));
    } else if (taps <= 8) {
        EK_ROWS_OF_FOUR(EK_QUAD_OF_FOUR("0", "2", "4") EK_QUAD_OF_FOUR("4", "6", "8"));
    } else {
        EK_ROWS_OF_FOUR(EK_QUAD_OF_FOUR("0", "2", "4") EK_QUAD_OF_FOUR("4", "6", "8")
                            EK_TAP_OF_FOUR("8"));
    }
    sums[0] = a0, sums[1] = a1, sums[2] = a2, sums[3] = a3;
}

#define EK_QUAD_OF_TWO(first)                                                                      \
    "ldrd %[w0], %[w1], [%[w]], #8\n"                                                              \
    "ldr %[u], [%[at], #" first "]\n"                                                              \
    "sxtb16 %[e], %[u]\n"                                                                          \
    "sxtb16 %[u], %[u], ror #8\n"                                                                  \
    "smlad %[a], %[e], %[w0], %[a]\n"                                                              \
    "smlad %[a], %[u], %[w1], %[a]\n"                                                              \
    "ldr %[u], [%[other], #" first "]\n"                                                           \
    "sxtb16 %[e], %[u]\n"                                                                          \
    "sxtb16 %[u], %[u], ror #8\n"                                                                  \
    "smlad %[b], %[e], %[w0], %[b]\n"                                                              \
    "smlad %[b], %[u], %[w1], %[b]\n"
#define EK_TAP_OF_TWO(first)                                                                       \
    "ldr %[w0], [%[w]], #4\n"                                                                      \
    "ldrsb %[u], [%[at], #" first "]\n"                                                            \
    "smlabb %[a], %[u], %[w0], %[a]\n"                                                             \
    "ldrsb %[u], [%[other], #" first "]\n"                                                         \
    "smlabb %[b], %[u], %[w0], %[b]\n"
#define EK_ROWS_OF_TWO(row)                                                                        \
    __asm__ volatile("1:\n" row "add %[at], %[at], %[next]\n"                                      \
                     "add %[other], %[other], %[next]\n"                                           \
                     "cmp %[w], %[end]\n"                                                          \
                     "bne 1b\n"                                                                    \
                     : [a] "+r"(a), [b] "+r"(b), [at] "+r"(at), [other] "+r"(other),               \
                       [w] "+r"(words), [u] "=&r"(u), [e] "=&r"(e), [w0] "=&r"(w0),                \
                       [w1] "=&r"(w1)                                                              \
                     : [next] "r"(next), [end] "r"(end)                                       \
                     : "cc", "memory")

/* The same for two windows that are `distance` bytes apart. */
EK_INLINE void ek_rows_of_two(const ek_rows *rows, const int8_t *at, int32_t distance,
                              int32_t sums[2]) {
    const uint32_t *words = rows->words, *const end = rows->end;
    const int32_t next = rows->next, taps = rows->taps;
    const int8_t *other = at + distance;
    int32_t a = sums[0], b = sums[1];
    uint32_t u, e, w0, w1;
    if (taps == 1) {
        EK_ROWS_OF_TWO(EK_TAP_OF_TWO("0"));
    } else if (taps <= 4) {
        EK_ROWS_OF_TWO(EK_QUAD_OF_TWO("0"));
    } else if (taps == 5) {
        EK_ROWS_OF_TWO(EK_QUAD_OF_TWO("0") EK_TAP_OF_TWO("4"));
    } else if (taps <= 8) {
        EK_ROWS_OF_TWO(EK_QUAD_OF_TWO("0") EK_QUAD_OF_TWO("4"));
    } else {
        EK_ROWS_OF_TWO(EK_QUAD_OF_TWO("0") EK_QUAD_OF_TWO("4") EK_TAP_OF_TWO("8"));
    }
    sums[0] = a, sums[1] = b;
}

#else

EK_INLINE int32_t ek_rows_of_one(const ek_rows *rows, const int8_t *at, int32_t sum) {
    for (const uint32_t *words = rows->words; words != rows->end;) {
        for (int32_t quad = 0; quad < ek_quads(rows->taps); quad++) {
            const uint32_t bytes = ek_load4(at + 4 * quad);
            sum = ek_dot2(ek_even(bytes), *words++, sum);
            sum = ek_dot2(ek_odd(bytes), *words++, sum);
        }
        if (rows->taps % 4 == 1) {
            sum += at[rows->taps - 1] * ek_low(*words++);
        }
        at += rows->next;
    }
    return sum;
}

EK_INLINE void ek_rows_of_two(const ek_rows *rows, const int8_t *at, int32_t distance,
                              int32_t sums[2]) {
    sums[0] = ek_rows_of_one(rows, at, sums[0]);
    sums[1] = ek_rows_of_one(rows, at + distance, sums[1]);
}

EK_INLINE void ek_rows_of_four(const ek_rows *rows, const int8_t *at, int32_t sums[4]) {
    ek_rows_of_two(rows, at, 1, sums);
    ek_rows_of_two(rows, at + 2, 1, sums + 2);
}

#endif

#endif

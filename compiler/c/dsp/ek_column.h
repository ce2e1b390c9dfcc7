/* Bytes of an image as a column: words of two sign-extended taps. */
#ifndef EK_COLUMN_H
#define EK_COLUMN_H

#include "ek_dsp.h"

/* Four bytes as two words of a column. */
EK_INLINE void ek_expand4(uint32_t bytes, uint32_t *column, int32_t stride) {
    column[0] = ek_even(bytes);
    column[stride] = ek_odd(bytes);
}

/* A multiple of four bytes as words that are `stride` apart; returns where the next one goes. */
EK_INLINE uint32_t *ek_expand(const int8_t *bytes, int32_t count, uint32_t *column,
                              int32_t stride) {
    const int8_t *const unrolled_end = bytes + (count & ~15);
    const int8_t *const end = bytes + count;
    while (bytes != unrolled_end) {
        ek_expand4(ek_load4(bytes), column, stride);
        ek_expand4(ek_load4(bytes + 4), column + 2 * stride, stride);
        ek_expand4(ek_load4(bytes + 8), column + 4 * stride, stride);
        ek_expand4(ek_load4(bytes + 12), column + 6 * stride, stride);
        bytes += 16;
        column += 8 * stride;
    }
    while (bytes != end) {
        ek_expand4(ek_load4(bytes), column, stride);
        bytes += 4;
        column += 2 * stride;
    }
    return column;
}

#endif

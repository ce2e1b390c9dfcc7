/* int16 two at a time, and from sums of 32 bits to outputs. */
#ifndef EK_DSP_16_H
#define EK_DSP_16_H

#include "ek_dsp.h"
#include "ek_dsp_int16_kernels.h"

/* Two numbers from any address; the first is the lower half. */
EK_INLINE uint32_t ek_load2(const int16_t *numbers) {
#if EK_DSP_INSTRUCTIONS
    uint32_t word;
    __builtin_memcpy(&word, numbers, 4);
    return word;
#else
    return (uint32_t)(uint16_t)numbers[0] | (uint32_t)(uint16_t)numbers[1] << 16;
#endif
}

/* The factor of one channel; `half` rounds ties up. */
typedef struct {
    int32_t multiplier, shift, half;
    int32_t minimum, maximum;
} ek_factor_16;

EK_INLINE ek_factor_16 ek_factor_16_of(const ek_dsp_output_16 *o, int32_t channel) {
    ek_factor_16 f;
    f.multiplier = o->multiplier[channel];
    f.shift = o->shift[channel];
    f.half = (int32_t)1 << (f.shift - 1);
    f.minimum = o->minimum;
    f.maximum = o->maximum;
    return f;
}

/* addend + a * b / 2^16, rounded down; b has 16 bits. */
EK_INLINE int32_t ek_multiply_add_16(int32_t a, int32_t b, int32_t addend) {
#if EK_DSP_INSTRUCTIONS
    int32_t result;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(addend));
    return result;
#else
    return addend + (int32_t)(((int64_t)a * b) >> 16);
#endif
}

/* (sum * multiplier + 2^(15 + shift)) / 2^(16 + shift): what the first division drops is too little
 * to reach the next integer. */
EK_INLINE int16_t ek_finish_dsp_16(int32_t sum, const ek_factor_16 *f) {
    const int32_t scaled = ek_multiply_add_16(sum, f->multiplier, f->half) >> f->shift;
    const int32_t floored = scaled < f->minimum ? f->minimum : scaled;
    return (int16_t)(floored > f->maximum ? f->maximum : floored);
}

/* An even number of numbers as words that are `stride` apart; returns where the next one goes. */
EK_INLINE uint32_t *ek_words_16(const int16_t *numbers, int32_t count, uint32_t *column,
                                int32_t stride) {
    for (const int16_t *const end = numbers + (count & ~7); numbers != end; numbers += 8) {
        column[0] = ek_load2(numbers);
        column[stride] = ek_load2(numbers + 2);
        column[2 * stride] = ek_load2(numbers + 4);
        column[3 * stride] = ek_load2(numbers + 6);
        column += 4 * stride;
    }
    for (const int16_t *const end = numbers + (count & 7); numbers != end; numbers += 2) {
        *column = ek_load2(numbers);
        column += stride;
    }
    return column;
}

#endif

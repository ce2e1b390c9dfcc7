/* The instructions of Cortex-M4, M7 and M33 that work on two 16-bit halves of a register, and
 * exact C in their place where there are none.
 */
#ifndef EK_DSP_H
#define EK_DSP_H

#include <stdint.h>

#include "ek_compiler.h"

/* Words are loaded from any address, so the core's trap on unaligned accesses stays off, as it is
 * after reset. Loops take every register: they need optimisation, and no frame pointer. */
#if defined(__GNUC__) && defined(__OPTIMIZE__) && defined(__ARM_FEATURE_DSP) &&                    \
    defined(__ARM_FEATURE_UNALIGNED)
#define EK_DSP_INSTRUCTIONS 1
#else
#define EK_DSP_INSTRUCTIONS 0
#endif

/* Four bytes from any address; the first is the lowest. */
EK_INLINE uint32_t ek_load4(const int8_t *bytes) {
#if EK_DSP_INSTRUCTIONS
    uint32_t word;
    __builtin_memcpy(&word, bytes, 4);
    return word;
#else
    return (uint32_t)(uint8_t)bytes[0] | (uint32_t)(uint8_t)bytes[1] << 8 |
           (uint32_t)(uint8_t)bytes[2] << 16 | (uint32_t)(uint8_t)bytes[3] << 24;
#endif
}

/* Bytes 0 and 2 of a word, sign-extended to halves. */
EK_INLINE uint32_t ek_even(uint32_t word) {
#if EK_DSP_INSTRUCTIONS
    uint32_t halves;
    __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(word));
    return halves;
#else
    const uint32_t signs = (word >> 7) & 0x00010001u;
    return (word & 0x00FF00FFu) | signs * 0xFF00u;
#endif
}

/* Bytes 1 and 3. */
EK_INLINE uint32_t ek_odd(uint32_t word) {
#if EK_DSP_INSTRUCTIONS
    uint32_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
    return halves;
#else
    return ek_even(word >> 8);
#endif
}

/* Lower and upper half as numbers. */
EK_INLINE int32_t ek_low(uint32_t halves) {
    return (int16_t)halves;
}

EK_INLINE int32_t ek_high(uint32_t halves) {
    return (int16_t)(halves >> 16);
}

/* sum + a.low * b.low + a.high * b.high. */
EK_INLINE int32_t ek_dot2(uint32_t a, uint32_t b, int32_t sum) {
#if EK_DSP_INSTRUCTIONS
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
#else
    return sum + ek_low(a) * ek_low(b) + ek_high(a) * ek_high(b);
#endif
}

/* addend + a * b / 2^32, ties up. */
EK_INLINE int32_t ek_high_multiply_add(int32_t a, int32_t b, int32_t addend) {
#if EK_DSP_INSTRUCTIONS
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(addend));
    return result;
#else
    return addend + (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
#endif
}

/* Both halves doubled; they are weights, so they fit. */
EK_INLINE uint32_t ek_twice(uint32_t halves) {
    return (halves << 1) & 0xFFFEFFFFu;
}

/* a * b / 2^32, ties up. */
EK_INLINE int32_t ek_high_multiply32(int32_t a, int32_t b) {
#if EK_DSP_INSTRUCTIONS
    int32_t result;
    __asm__("smmulr %0, %1, %2" : "=r"(result) : "r"(a), "r"(b));
    return result;
#else
    return ek_high_multiply_add(a, b, 0);
#endif
}

EK_INLINE int8_t ek_saturate8(int32_t x) {
#if EK_DSP_INSTRUCTIONS
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
    return (int8_t)result;
#else
    return (int8_t)(x < INT8_MIN ? INT8_MIN : (x > INT8_MAX ? INT8_MAX : x));
#endif
}

#endif

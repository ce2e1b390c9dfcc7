/* The vectors of Cortex-M55 and M85 (Helium): sixteen bytes, eight halves or four words.
 *
 * Each function is an instruction or a few of arm_mve.h; ek_helium_plain.h says the same in plain C
 * for machines without them. `first` is a load or store of the first `count` lanes alone, others
 * are read as 0 and left as they are in memory: that is how odd shapes end.
 */
#ifndef EK_HELIUM_H
#define EK_HELIUM_H

#include <stdint.h>

#include "ek_compiler.h"

#if defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define EK_HELIUM_INSTRUCTIONS 1
#else
#define EK_HELIUM_INSTRUCTIONS 0
#endif

#if EK_HELIUM_INSTRUCTIONS

#include <arm_mve.h>

/* Makes a value of here the one that is used: the compiler would keep several pointers instead of
 * the offsets that loads have, or load sums as a vector. */
#define EK_KEEP(value) __asm__ volatile("" : "+r"(value))

typedef int8x16_t ek_bytes;
typedef int16x8_t ek_halves;
typedef int32x4_t ek_words;

EK_INLINE ek_bytes ek_load_bytes(const int8_t *from) {
    return vldrbq_s8(from);
}

EK_INLINE ek_bytes ek_load_first_bytes(const int8_t *from, int32_t count) {
    return vldrbq_z_s8(from, vctp8q((uint32_t)count));
}

EK_INLINE void ek_store_bytes(int8_t *to, ek_bytes a) {
    vstrbq_s8(to, a);
}

EK_INLINE void ek_store_first_bytes(int8_t *to, ek_bytes a, int32_t count) {
    vstrbq_p_s8(to, a, vctp8q((uint32_t)count));
}

EK_INLINE ek_words ek_load_words(const int32_t *from) {
    return vldrwq_s32(from);
}

EK_INLINE ek_words ek_load_first_words(const int32_t *from, int32_t count) {
    return vldrwq_z_s32(from, vctp32q((uint32_t)count));
}

EK_INLINE void ek_store_words(int32_t *to, ek_words a) {
    vstrwq_s32(to, a);
}

/* Four bytes as words, and back: the lowest byte of each word. */
EK_INLINE ek_words ek_load_widened(const int8_t *from) {
    return vldrbq_s32(from);
}

EK_INLINE ek_words ek_load_first_widened(const int8_t *from, int32_t count) {
    return vldrbq_z_s32(from, vctp32q((uint32_t)count));
}

EK_INLINE void ek_store_low_bytes(int8_t *to, ek_words a) {
    vstrbq_s32(to, a);
}

EK_INLINE void ek_store_first_low_bytes(int8_t *to, ek_words a, int32_t count) {
    vstrbq_p_s32(to, a, vctp32q((uint32_t)count));
}

EK_INLINE ek_bytes ek_same_bytes(int32_t value) {
    return vdupq_n_s8((int8_t)value);
}

EK_INLINE ek_words ek_same_words(int32_t value) {
    return vdupq_n_s32(value);
}

EK_INLINE ek_words ek_four_words(int32_t a, int32_t b, int32_t c, int32_t d) {
    ek_words words;
    __asm__("vmov %q0[2], %q0[0], %1, %2\n"
            "vmov %q0[3], %q0[1], %3, %4\n"
            : "=&w"(words)
            : "r"(a), "r"(c), "r"(b), "r"(d));
    return words;
}

/* sum + all sixteen products. */
EK_INLINE int32_t ek_dot(int32_t sum, ek_bytes a, ek_bytes b) {
    return vmladavaq_s8(sum, a, b);
}

/* Products of lanes 0, 2, 4, ... and of lanes 1, 3, 5, ... */
EK_INLINE ek_halves ek_even_products(ek_bytes a, ek_bytes b) {
    return vmullbq_int_s8(a, b);
}

EK_INLINE ek_halves ek_odd_products(ek_bytes a, ek_bytes b) {
    return vmulltq_int_s8(a, b);
}

EK_INLINE ek_halves ek_add_halves(ek_halves a, ek_halves b) {
    return vaddq_s16(a, b);
}

EK_INLINE ek_words ek_add_words(ek_words a, ek_words b) {
    return vaddq_s32(a, b);
}

EK_INLINE ek_words ek_negated(ek_words a) {
    return vnegq_s32(a);
}

/* sums + the halves of lanes 0, 2, 4, 6 or 1, 3, 5, 7. */
EK_INLINE ek_words ek_add_even(ek_words sums, ek_halves a) {
    return vaddq_s32(sums, vmovlbq_s16(a));
}

EK_INLINE ek_words ek_add_odd(ek_words sums, ek_halves a) {
    return vaddq_s32(sums, vmovltq_s16(a));
}

/* (a - zero) * 2^20. */
EK_INLINE ek_words ek_headroom(ek_words a, int32_t zero) {
    return vshlq_n_s32(vsubq_n_s32(a, zero), 20);
}

/* a * b / 2^31, ties up; and a * b / 2^32, down. */
EK_INLINE ek_words ek_doubled_high(ek_words a, ek_words b) {
    return vqrdmulhq_s32(a, b);
}

EK_INLINE ek_words ek_high(ek_words a, ek_words b) {
    return vmulhq_s32(a, b);
}

/* a * 2^shifts, ties up; shifts are 0 or less. */
EK_INLINE ek_words ek_shifted(ek_words a, ek_words shifts) {
    return vrshlq_s32(a, shifts);
}

/* a - 1 where a and shifts are both negative, so that ek_shifted then rounds ties of negative
 * numbers down: half away from zero. */
EK_INLINE ek_words ek_nudged(ek_words a, ek_words shifts) {
    return vaddq_s32(a, vshrq_n_s32(vandq_s32(a, shifts), 31));
}

EK_INLINE ek_words ek_words_within(ek_words a, ek_words minimum, ek_words maximum) {
    return vminq_s32(vmaxq_s32(a, minimum), maximum);
}

EK_INLINE ek_bytes ek_bytes_within(ek_bytes a, ek_bytes minimum, ek_bytes maximum) {
    return vminq_s8(vmaxq_s8(a, minimum), maximum);
}

/* Lanes of both by turns, `even` first, saturated to half their size. */
EK_INLINE ek_halves ek_narrowed_words(ek_words even, ek_words odd) {
    ek_halves narrow;
    __asm__("vqmovnb.s32 %q0, %q1\nvqmovnt.s32 %q0, %q2" : "=&w"(narrow) : "w"(even), "w"(odd));
    return narrow;
}

EK_INLINE ek_bytes ek_narrowed_halves(ek_halves even, ek_halves odd) {
    ek_bytes narrow;
    __asm__("vqmovnb.s16 %q0, %q1\nvqmovnt.s16 %q0, %q2" : "=&w"(narrow) : "w"(even), "w"(odd));
    return narrow;
}

/* a + b, saturated. */
EK_INLINE ek_halves ek_add_saturated(ek_halves a, int32_t b) {
    return vqaddq_n_s16(a, (int16_t)b);
}

#else

#include "ek_helium_plain.h"

#endif

#endif

/* Numbers modulo 2^255 - 19 in eight words, the lowest first. Between calls a number may be anything
 * below 2^256; ek_field_reduce gives the one below the modulus. Results may be operands. */
#ifndef EK_FIELD_H
#define EK_FIELD_H

#include <stdint.h>

#define EK_FIELD_WORDS 8u

typedef struct {
    uint32_t word[EK_FIELD_WORDS];
} ek_field;

void ek_field_add(ek_field *result, const ek_field *a, const ek_field *b);
void ek_field_subtract(ek_field *result, const ek_field *a, const ek_field *b);
void ek_field_multiply(ek_field *result, const ek_field *a, const ek_field *b);
void ek_field_reduce(ek_field *number);

/* number^(2^`bits` - 1 - `holes`), where holes are powers of two below 2^bits: every exponent that
 * roots and inverses need. */
void ek_field_power(ek_field *result, const ek_field *number, uint32_t bits, uint32_t holes);

/* Whether both are the same modulo 2^255 - 19. */
int ek_field_equal(const ek_field *a, const ek_field *b);
int ek_field_is_zero(const ek_field *a);

/* 32 bytes, the lowest first. */
void ek_field_read(ek_field *number, const uint8_t bytes[32]);
void ek_field_write(const ek_field *number, uint8_t bytes[32]);

/* -1, 0 or 1 as `a` is below, equal to or above `b`, as they are. */
int ek_field_compare(const ek_field *a, const ek_field *b);

#endif

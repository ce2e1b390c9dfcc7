/* 2^256 is 38 modulo 2^255 - 19: what leaves the eight words comes back 38-fold. */
#include "ek_field.h"

#define FOLD 38u

static const ek_field modulus = {{0xffffffedu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu,
                                  0xffffffffu, 0xffffffffu, 0x7fffffffu}};

/* a b + c + carry, at most 2^64 - 1: the low word, and the high one in `carry`. */
static inline uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c, uint32_t *carry) {
#ifdef __ARM_ARCH_6M__
    /* The core has products of 32 bits: by halves, where the library's call has 64 bits by 64. */
    const uint32_t a0 = a & 0xffffu, a1 = a >> 16, b0 = b & 0xffffu, b1 = b >> 16;
    const uint32_t first = a0 * b0;
    const uint32_t second = (a1 * b0) + (first >> 16);
    const uint32_t third = (a0 * b1) + (second & 0xffffu);
    const uint32_t product = (third << 16) | (first & 0xffffu);
    uint32_t high = (a1 * b1) + (second >> 16) + (third >> 16);
    uint32_t low = product + c;
    high += low < c ? 1u : 0u;
    low += *carry;
    high += low < *carry ? 1u : 0u;
    *carry = high;
    return low;
#else
    const uint64_t sum = ((uint64_t)a * b) + c + *carry;
    *carry = (uint32_t)(sum >> 32);
    return (uint32_t)sum;
#endif
}

/* Adds `carry` times 2^256. */
static void fold(ek_field *number, uint64_t carry) {
    while (carry != 0u) {
        carry *= FOLD;
        for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
            carry += number->word[i];
            number->word[i] = (uint32_t)carry;
            carry >>= 32;
        }
    }
}

/* a - b - borrow as numbers of 256 bits; the borrow. */
static uint32_t difference(ek_field *result, const ek_field *a, const ek_field *b) {
    uint32_t borrow = 0;
    for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
        const uint64_t word = (uint64_t)a->word[i] - b->word[i] - borrow;
        result->word[i] = (uint32_t)word;
        borrow = (uint32_t)(word >> 63);
    }
    return borrow;
}

void ek_field_add(ek_field *result, const ek_field *a, const ek_field *b) {
    uint64_t carry = 0;
    for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
        carry += (uint64_t)a->word[i] + b->word[i];
        result->word[i] = (uint32_t)carry;
        carry >>= 32;
    }
    fold(result, carry);
}

void ek_field_subtract(ek_field *result, const ek_field *a, const ek_field *b) {
    static const ek_field once = {{FOLD}};
    uint32_t borrow = difference(result, a, b);
    while (borrow != 0u) {
        borrow = difference(result, result, &once);
    }
}

void ek_field_multiply(ek_field *result, const ek_field *a, const ek_field *b) {
    uint32_t product[2u * EK_FIELD_WORDS] = {0};
    uint32_t carry = 0;
    for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
        carry = 0;
        for (uint32_t j = 0; j < EK_FIELD_WORDS; j++) {
            product[i + j] = multiply_add(a->word[i], b->word[j], product[i + j], &carry);
        }
        product[i + EK_FIELD_WORDS] = carry;
    }
    carry = 0;
    for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
        result->word[i] = multiply_add(product[i + EK_FIELD_WORDS], FOLD, product[i], &carry);
    }
    fold(result, carry);
}

void ek_field_reduce(ek_field *number) {
    while (ek_field_compare(number, &modulus) >= 0) { /* at most twice */
        (void)difference(number, number, &modulus);
    }
}

void ek_field_power(ek_field *result, const ek_field *number, uint32_t bits, uint32_t holes) {
    const ek_field base = *number;
    ek_field power = base;
    for (uint32_t bit = bits - 1u; bit-- != 0u;) {
        ek_field_multiply(&power, &power, &power);
        if (bit >= 32u || ((holes >> bit) & 1u) == 0u) {
            ek_field_multiply(&power, &power, &base);
        }
    }
    *result = power;
}

int ek_field_compare(const ek_field *a, const ek_field *b) {
    for (uint32_t i = EK_FIELD_WORDS; i-- != 0u;) {
        if (a->word[i] != b->word[i]) {
            return a->word[i] < b->word[i] ? -1 : 1;
        }
    }
    return 0;
}

int ek_field_is_zero(const ek_field *a) {
    static const ek_field zero = {{0}};
    ek_field reduced = *a;
    ek_field_reduce(&reduced);
    return ek_field_compare(&reduced, &zero) == 0;
}

int ek_field_equal(const ek_field *a, const ek_field *b) {
    ek_field rest;
    ek_field_subtract(&rest, a, b);
    return ek_field_is_zero(&rest);
}

void ek_field_read(ek_field *number, const uint8_t bytes[32]) {
    for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
        const uint8_t *word = bytes + (4u * i);
        number->word[i] = (uint32_t)word[0] | ((uint32_t)word[1] << 8) | ((uint32_t)word[2] << 16) |
                          ((uint32_t)word[3] << 24);
    }
}

void ek_field_write(const ek_field *number, uint8_t bytes[32]) {
    for (uint32_t i = 0; i < 32u; i++) {
        bytes[i] = (uint8_t)(number->word[i / 4u] >> (8u * (i % 4u)));
    }
}

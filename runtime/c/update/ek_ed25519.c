/* Points are in extended coordinates (x = X/Z, y = Y/Z, x y = T/Z) on -x^2 + y^2 = 1 + d x^2 y^2,
 * where one formula adds any two points, so that doubling needs no code of its own (Hisil, Wong,
 * Carter and Dawson, "Twisted Edwards Curves Revisited", 2008, section 3.1). */
#include "ek_ed25519.h"

#include "ek_field.h"
#include "ek_sha2.h"

typedef struct {
    ek_field x, y, z, t;
} point;

static const ek_field one = {{1u}};
static const ek_field d = {{0x135978a3u, 0x75eb4dcau, 0x4141d8abu, 0x00700a4du, 0x7779e898u,
                            0x8cc74079u, 0x2b6ffe73u, 0x52036ceeu}};
/* 2^((p - 1) / 4): its square is -1. */
static const ek_field root_of_minus_one = {{0x4a0ea0b0u, 0xc4ee1b27u, 0xad2fe478u, 0x2f431806u,
                                            0x3dfbd7a7u, 0x2b4d0099u, 0x4fc1df0bu, 0x2b832480u}};
static const ek_field base_x = {{0x8f25d51au, 0xc9562d60u, 0x9525a7b2u, 0x692cc760u, 0xfdd6dc5cu,
                                 0xc0a4e231u, 0xcd6e53feu, 0x216936d3u}};
static const ek_field base_y = {{0x66666658u, 0x66666666u, 0x66666666u, 0x66666666u, 0x66666666u,
                                 0x66666666u, 0x66666666u, 0x66666666u}};
/* Of the group that the base generates, 2^252 + 27742317777372353535851937790883648493. */
static const ek_field order = {{0x5cf5d3edu, 0x5812631au, 0xa2f79cd6u, 0x14def9deu, 0u, 0u, 0u,
                                0x10000000u}};

static void add(point *result, const point *p, const point *q) {
    ek_field a, b, c, e, f, g;
    ek_field_subtract(&a, &p->y, &p->x);
    ek_field_subtract(&e, &q->y, &q->x);
    ek_field_multiply(&a, &a, &e);
    ek_field_add(&b, &p->y, &p->x);
    ek_field_add(&e, &q->y, &q->x);
    ek_field_multiply(&b, &b, &e);
    ek_field_multiply(&c, &p->t, &q->t);
    ek_field_multiply(&c, &c, &d);
    ek_field_add(&c, &c, &c);
    ek_field_multiply(&f, &p->z, &q->z);
    ek_field_add(&f, &f, &f);
    ek_field_subtract(&e, &b, &a);
    ek_field_add(&b, &b, &a);
    ek_field_add(&g, &f, &c);
    ek_field_subtract(&f, &f, &c);
    ek_field_multiply(&result->x, &e, &f);
    ek_field_multiply(&result->y, &g, &b);
    ek_field_multiply(&result->t, &e, &b);
    ek_field_multiply(&result->z, &f, &g);
}

static void from_affine(point *result, const ek_field *x, const ek_field *y) {
    result->x = *x;
    result->y = *y;
    result->z = one;
    ek_field_multiply(&result->t, x, y);
}

/* The point that `bytes` are the canonical encoding of; 0 where there is none. */
static int decode(point *result, const uint8_t bytes[32]) {
    ek_field x, y, u, v, power;
    const uint32_t sign = (uint32_t)bytes[31] >> 7;
    ek_field_read(&y, bytes);
    y.word[7] &= 0x7fffffffu;
    u = y;
    ek_field_reduce(&u);
    if (ek_field_compare(&u, &y) != 0) {
        return 0;
    }
    /* x^2 = u / v with u = y^2 - 1, v = d y^2 + 1; the candidate is u v^3 (u v^7)^((p - 5) / 8). */
    ek_field_multiply(&u, &y, &y);
    ek_field_multiply(&v, &u, &d);
    ek_field_subtract(&u, &u, &one);
    ek_field_add(&v, &v, &one);
    ek_field_multiply(&x, &v, &v);
    ek_field_multiply(&x, &x, &v);
    ek_field_multiply(&power, &x, &x);
    ek_field_multiply(&power, &power, &v);
    ek_field_multiply(&power, &power, &u);
    ek_field_power(&power, &power, 252, 2);
    ek_field_multiply(&x, &x, &u);
    ek_field_multiply(&x, &x, &power);
    ek_field_multiply(&power, &x, &x);
    ek_field_multiply(&power, &power, &v);
    if (!ek_field_equal(&power, &u)) {
        ek_field_add(&power, &power, &u);
        if (!ek_field_is_zero(&power)) {
            return 0;
        }
        ek_field_multiply(&x, &x, &root_of_minus_one);
    }
    ek_field_reduce(&x);
    if (ek_field_is_zero(&x) && sign != 0u) {
        return 0;
    }
    if ((x.word[0] & 1u) != sign) {
        static const ek_field zero = {{0}};
        ek_field_subtract(&x, &zero, &x);
    }
    from_affine(result, &x, &y);
    return 1;
}

static void encode(const point *p, uint8_t bytes[32]) {
    ek_field inverse, x, y;
    ek_field_power(&inverse, &p->z, 255, 20); /* p - 2 */
    ek_field_multiply(&x, &p->x, &inverse);
    ek_field_multiply(&y, &p->y, &inverse);
    ek_field_reduce(&x);
    ek_field_reduce(&y);
    ek_field_write(&y, bytes);
    bytes[31] = (uint8_t)(bytes[31] | ((x.word[0] & 1u) << 7));
}

/* Whether eight times the point is nothing. */
static int has_small_order(const point *p) {
    point eightfold = *p;
    for (uint32_t i = 0; i < 3u; i++) {
        add(&eightfold, &eightfold, &eightfold);
    }
    return ek_field_is_zero(&eightfold.x);
}

/* The 64 bytes modulo the group's order, one bit after the other. */
static void reduce_scalar(ek_field *scalar, const uint8_t bytes[EK_SHA512_BYTES]) {
    static const ek_field zero = {{0}};
    *scalar = zero;
    for (uint32_t bit = 8u * EK_SHA512_BYTES; bit-- != 0u;) {
        uint32_t carry = ((uint32_t)bytes[bit / 8u] >> (bit % 8u)) & 1u;
        for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
            const uint32_t word = scalar->word[i];
            scalar->word[i] = (word << 1) | carry;
            carry = word >> 31;
        }
        if (ek_field_compare(scalar, &order) >= 0) {
            uint32_t borrow = 0;
            for (uint32_t i = 0; i < EK_FIELD_WORDS; i++) {
                const uint64_t word = (uint64_t)scalar->word[i] - order.word[i] - borrow;
                scalar->word[i] = (uint32_t)word;
                borrow = (uint32_t)(word >> 63);
            }
        }
    }
}

static uint32_t bit_of(const ek_field *scalar, uint32_t bit) {
    return (scalar->word[bit / 32u] >> (bit % 32u)) & 1u;
}

/* s times the base and k times `p`, both at once. */
static void add_multiples(point *result, const ek_field *s, const ek_field *k, const point *p) {
    static const ek_field zero = {{0}};
    point sums[3]; /* the base, p, and both */
    from_affine(&sums[0], &base_x, &base_y);
    sums[1] = *p;
    add(&sums[2], &sums[0], p);
    from_affine(result, &zero, &one);
    for (uint32_t bit = 253; bit-- != 0u;) { /* both are below the order */
        add(result, result, result);
        const uint32_t which = bit_of(s, bit) | (bit_of(k, bit) << 1);
        if (which != 0u) {
            add(result, result, &sums[which - 1u]);
        }
    }
}

int ek_ed25519_verify(const uint8_t key[EK_KEY_BYTES], const uint8_t *message, uint32_t bytes,
                      const uint8_t signature[EK_SIGNATURE_BYTES]) {
    static const ek_field zero = {{0}};
    ek_field s, k;
    point negated, sum;
    ek_field_read(&s, signature + 32);
    if (ek_field_compare(&s, &order) >= 0 || !decode(&negated, key) || has_small_order(&negated)) {
        return 0;
    }
    ek_field_subtract(&negated.x, &zero, &negated.x);
    ek_field_subtract(&negated.t, &zero, &negated.t);

    ek_sha512 hash;
    uint8_t digest[EK_SHA512_BYTES];
    ek_sha512_init(&hash);
    ek_sha512_update(&hash, signature, 32);
    ek_sha512_update(&hash, key, EK_KEY_BYTES);
    ek_sha512_update(&hash, message, bytes);
    ek_sha512_final(&hash, digest);
    reduce_scalar(&k, digest);

    add_multiples(&sum, &s, &k, &negated);
    encode(&sum, digest);
    uint32_t differing = 0;
    for (uint32_t i = 0; i < 32u; i++) {
        differing |= (uint32_t)digest[i] ^ signature[i];
    }
    return differing == 0u && !has_small_order(&sum);
}

/* Written for size: rounds are rolled, and both hashes share one table of constants. */
#include "ek_sha2.h"

/* The first 64 bits of the fractions of the cube roots of the first 80 primes; SHA-256 has the first
 * 32 bits of the first 64. */
static const uint64_t round_constants[80] = {
    UINT64_C(0x428a2f98d728ae22), UINT64_C(0x7137449123ef65cd), UINT64_C(0xb5c0fbcfec4d3b2f),
    UINT64_C(0xe9b5dba58189dbbc), UINT64_C(0x3956c25bf348b538), UINT64_C(0x59f111f1b605d019),
    UINT64_C(0x923f82a4af194f9b), UINT64_C(0xab1c5ed5da6d8118), UINT64_C(0xd807aa98a3030242),
    UINT64_C(0x12835b0145706fbe), UINT64_C(0x243185be4ee4b28c), UINT64_C(0x550c7dc3d5ffb4e2),
    UINT64_C(0x72be5d74f27b896f), UINT64_C(0x80deb1fe3b1696b1), UINT64_C(0x9bdc06a725c71235),
    UINT64_C(0xc19bf174cf692694), UINT64_C(0xe49b69c19ef14ad2), UINT64_C(0xefbe4786384f25e3),
    UINT64_C(0x0fc19dc68b8cd5b5), UINT64_C(0x240ca1cc77ac9c65), UINT64_C(0x2de92c6f592b0275),
    UINT64_C(0x4a7484aa6ea6e483), UINT64_C(0x5cb0a9dcbd41fbd4), UINT64_C(0x76f988da831153b5),
    UINT64_C(0x983e5152ee66dfab), UINT64_C(0xa831c66d2db43210), UINT64_C(0xb00327c898fb213f),
    UINT64_C(0xbf597fc7beef0ee4), UINT64_C(0xc6e00bf33da88fc2), UINT64_C(0xd5a79147930aa725),
    UINT64_C(0x06ca6351e003826f), UINT64_C(0x142929670a0e6e70), UINT64_C(0x27b70a8546d22ffc),
    UINT64_C(0x2e1b21385c26c926), UINT64_C(0x4d2c6dfc5ac42aed), UINT64_C(0x53380d139d95b3df),
    UINT64_C(0x650a73548baf63de), UINT64_C(0x766a0abb3c77b2a8), UINT64_C(0x81c2c92e47edaee6),
    UINT64_C(0x92722c851482353b), UINT64_C(0xa2bfe8a14cf10364), UINT64_C(0xa81a664bbc423001),
    UINT64_C(0xc24b8b70d0f89791), UINT64_C(0xc76c51a30654be30), UINT64_C(0xd192e819d6ef5218),
    UINT64_C(0xd69906245565a910), UINT64_C(0xf40e35855771202a), UINT64_C(0x106aa07032bbd1b8),
    UINT64_C(0x19a4c116b8d2d0c8), UINT64_C(0x1e376c085141ab53), UINT64_C(0x2748774cdf8eeb99),
    UINT64_C(0x34b0bcb5e19b48a8), UINT64_C(0x391c0cb3c5c95a63), UINT64_C(0x4ed8aa4ae3418acb),
    UINT64_C(0x5b9cca4f7763e373), UINT64_C(0x682e6ff3d6b2b8a3), UINT64_C(0x748f82ee5defb2fc),
    UINT64_C(0x78a5636f43172f60), UINT64_C(0x84c87814a1f0ab72), UINT64_C(0x8cc702081a6439ec),
    UINT64_C(0x90befffa23631e28), UINT64_C(0xa4506cebde82bde9), UINT64_C(0xbef9a3f7b2c67915),
    UINT64_C(0xc67178f2e372532b), UINT64_C(0xca273eceea26619c), UINT64_C(0xd186b8c721c0c207),
    UINT64_C(0xeada7dd6cde0eb1e), UINT64_C(0xf57d4f7fee6ed178), UINT64_C(0x06f067aa72176fba),
    UINT64_C(0x0a637dc5a2c898a6), UINT64_C(0x113f9804bef90dae), UINT64_C(0x1b710b35131c471b),
    UINT64_C(0x28db77f523047d84), UINT64_C(0x32caab7b40c72493), UINT64_C(0x3c9ebe0a15c9bebc),
    UINT64_C(0x431d67c49c100d4c), UINT64_C(0x4cc5d4becb3e42b6), UINT64_C(0x597f299cfc657e2a),
    UINT64_C(0x5fcb6fab3ad6faec), UINT64_C(0x6c44198c4a475817)
};

/* The same of the square roots of the first 8 primes. */
static const uint64_t initial_state[8] = {
    UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b),
    UINT64_C(0xa54ff53a5f1d36f1), UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f),
    UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179)
};

static uint32_t rotated_32(uint32_t word, uint32_t by) {
    return (word >> by) | (word << (32u - by));
}

static uint64_t rotated_64(uint64_t word, uint32_t by) {
    return (word >> by) | (word << (64u - by));
}

static uint32_t big_endian_32(const uint8_t *bytes) {
    return ((uint32_t)bytes[0] << 24) | ((uint32_t)bytes[1] << 16) | ((uint32_t)bytes[2] << 8) |
           (uint32_t)bytes[3];
}

static uint64_t big_endian_64(const uint8_t *bytes) {
    return ((uint64_t)big_endian_32(bytes) << 32) | big_endian_32(bytes + 4);
}

static void put_big_endian(uint8_t *to, uint64_t word, uint32_t bytes) {
    for (uint32_t i = bytes; i-- != 0u;) {
        to[i] = (uint8_t)word;
        word >>= 8;
    }
}

static void compress_256(ek_sha256 *hash) {
    uint32_t w[16], v[8];
    for (uint32_t i = 0; i < 8u; i++) {
        v[i] = hash->state[i];
    }
    for (uint32_t i = 0; i < 64u; i++) {
        const uint32_t at = i & 15u;
        if (i < 16u) {
            w[at] = big_endian_32(hash->block + (4u * i));
        } else {
            const uint32_t a = w[(i + 1u) & 15u], b = w[(i + 14u) & 15u];
            w[at] += (rotated_32(a, 7) ^ rotated_32(a, 18) ^ (a >> 3)) + w[(i + 9u) & 15u] +
                     (rotated_32(b, 17) ^ rotated_32(b, 19) ^ (b >> 10));
        }
        const uint32_t e = v[4], a = v[0];
        const uint32_t first = v[7] + (rotated_32(e, 6) ^ rotated_32(e, 11) ^ rotated_32(e, 25)) +
                               ((e & v[5]) ^ (~e & v[6])) +
                               (uint32_t)(round_constants[i] >> 32) + w[at];
        const uint32_t second = (rotated_32(a, 2) ^ rotated_32(a, 13) ^ rotated_32(a, 22)) +
                                ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        for (uint32_t j = 7; j != 0u; j--) {
            v[j] = v[j - 1u];
        }
        v[4] += first;
        v[0] = first + second;
    }
    for (uint32_t i = 0; i < 8u; i++) {
        hash->state[i] += v[i];
    }
}

static void compress_512(ek_sha512 *hash) {
    uint64_t w[16], v[8];
    for (uint32_t i = 0; i < 8u; i++) {
        v[i] = hash->state[i];
    }
    for (uint32_t i = 0; i < 80u; i++) {
        const uint32_t at = i & 15u;
        if (i < 16u) {
            w[at] = big_endian_64(hash->block + (8u * i));
        } else {
            const uint64_t a = w[(i + 1u) & 15u], b = w[(i + 14u) & 15u];
            w[at] += (rotated_64(a, 1) ^ rotated_64(a, 8) ^ (a >> 7)) + w[(i + 9u) & 15u] +
                     (rotated_64(b, 19) ^ rotated_64(b, 61) ^ (b >> 6));
        }
        const uint64_t e = v[4], a = v[0];
        const uint64_t first = v[7] + (rotated_64(e, 14) ^ rotated_64(e, 18) ^ rotated_64(e, 41)) +
                               ((e & v[5]) ^ (~e & v[6])) + round_constants[i] + w[at];
        const uint64_t second = (rotated_64(a, 28) ^ rotated_64(a, 34) ^ rotated_64(a, 39)) +
                                ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        for (uint32_t j = 7; j != 0u; j--) {
            v[j] = v[j - 1u];
        }
        v[4] += first;
        v[0] = first + second;
    }
    for (uint32_t i = 0; i < 8u; i++) {
        hash->state[i] += v[i];
    }
}

void ek_sha256_init(ek_sha256 *hash) {
    for (uint32_t i = 0; i < 8u; i++) {
        hash->state[i] = (uint32_t)(initial_state[i] >> 32);
    }
    hash->length = 0;
}

void ek_sha512_init(ek_sha512 *hash) {
    for (uint32_t i = 0; i < 8u; i++) {
        hash->state[i] = initial_state[i];
    }
    hash->length = 0;
}

void ek_sha256_update(ek_sha256 *hash, const uint8_t *message, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        hash->block[hash->length & 63u] = message[i];
        hash->length++;
        if ((hash->length & 63u) == 0u) {
            compress_256(hash);
        }
    }
}

void ek_sha512_update(ek_sha512 *hash, const uint8_t *message, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        hash->block[hash->length & 127u] = message[i];
        hash->length++;
        if ((hash->length & 127u) == 0u) {
            compress_512(hash);
        }
    }
}

void ek_sha256_final(ek_sha256 *hash, uint8_t digest[EK_SHA256_BYTES]) {
    static const uint8_t end = 0x80, zero = 0;
    uint8_t bits[8];
    put_big_endian(bits, (uint64_t)hash->length << 3, 8);
    ek_sha256_update(hash, &end, 1);
    while ((hash->length & 63u) != 56u) {
        ek_sha256_update(hash, &zero, 1);
    }
    ek_sha256_update(hash, bits, 8);
    for (uint32_t i = 0; i < 8u; i++) {
        put_big_endian(digest + (4u * i), hash->state[i], 4);
    }
}

void ek_sha512_final(ek_sha512 *hash, uint8_t digest[EK_SHA512_BYTES]) {
    static const uint8_t end = 0x80, zero = 0;
    uint8_t bits[16] = {0};
    put_big_endian(bits + 8, (uint64_t)hash->length << 3, 8);
    ek_sha512_update(hash, &end, 1);
    while ((hash->length & 127u) != 112u) {
        ek_sha512_update(hash, &zero, 1);
    }
    ek_sha512_update(hash, bits, 16);
    for (uint32_t i = 0; i < 8u; i++) {
        put_big_endian(digest + (8u * i), hash->state[i], 8);
    }
}

/* SHA-256 and SHA-512 (FIPS 180-4), in pieces of any size. */
#ifndef EK_SHA2_H
#define EK_SHA2_H

#include <stdint.h>

#define EK_SHA256_BYTES 32u
#define EK_SHA512_BYTES 64u

/* Messages are shorter than 4 GiB. */
typedef struct {
    uint32_t state[8];
    uint32_t length; /* bytes so far */
    uint8_t block[64];
} ek_sha256;

typedef struct {
    uint64_t state[8];
    uint32_t length;
    uint8_t block[128];
} ek_sha512;

void ek_sha256_init(ek_sha256 *hash);
void ek_sha256_update(ek_sha256 *hash, const uint8_t *message, uint32_t bytes);
void ek_sha256_final(ek_sha256 *hash, uint8_t digest[EK_SHA256_BYTES]);

void ek_sha512_init(ek_sha512 *hash);
void ek_sha512_update(ek_sha512 *hash, const uint8_t *message, uint32_t bytes);
void ek_sha512_final(ek_sha512 *hash, uint8_t digest[EK_SHA512_BYTES]);

#endif

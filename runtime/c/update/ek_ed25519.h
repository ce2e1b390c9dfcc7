/* Ed25519 signatures (RFC 8032, 5.1), verification alone; nothing here is secret, so nothing is
 * constant in time.
 *
 * The strict rule: S below the group's order; the key a canonical encoding of a point that is not of
 * small order; R, bit for bit, the canonical encoding of S B - k A, and not of small order. What
 * RFC 8032 signers make passes; every signature has one spelling, and no key accepts two messages
 * with one signature. */
#ifndef EK_ED25519_H
#define EK_ED25519_H

#include <stdint.h>

#define EK_KEY_BYTES 32u
#define EK_SIGNATURE_BYTES 64u

/* 1 where the signature holds, else 0. */
int ek_ed25519_verify(const uint8_t key[EK_KEY_BYTES], const uint8_t *message, uint32_t bytes,
                      const uint8_t signature[EK_SIGNATURE_BYTES]);

#endif

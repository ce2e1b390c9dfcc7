/* The signed head of an update: what it is, whom it is for, and the hashes of its blocks.
 *
 *   0  8  "EKUPDATE"                  32 16  vendor id
 *   8  2  schema, 1                   48 16  class id
 *  10  2  bytes of the head, 224      64 32  structure
 *  12  4  security counter            96 32  release
 *  16  4  bytes of the image         128 32  SHA-256 of the hashes of all blocks
 *  20  4  bytes of a block           160 64  Ed25519 signature of bytes 0 to 159
 *  24  8  key id
 *
 * Numbers have their lowest byte first. After the head come the SHA-256 of each block, then the
 * image in blocks, the last one as long as it is. */
#ifndef EK_ENVELOPE_H
#define EK_ENVELOPE_H

#include <stdint.h>

#include "ek_ed25519.h"
#include "ek_reason.h"
#include "ek_sha2.h"

#define EK_HEAD_BYTES 224u
#define EK_SIGNED_BYTES (EK_HEAD_BYTES - EK_SIGNATURE_BYTES)
#define EK_KEY_ID_BYTES 8u
#define EK_ID_BYTES 16u
#define EK_DIGEST_BYTES EK_SHA256_BYTES
#define EK_SMALLEST_BLOCK 256u
#define EK_IMAGE_UNIT 32u /* images have whole multiples of it */

typedef struct {
    uint32_t security_counter;
    uint32_t image_bytes;
    uint32_t block_bytes; /* a power of two, at least EK_SMALLEST_BLOCK */
    uint32_t blocks;
    const uint8_t *key_id;    /* the first EK_KEY_ID_BYTES of the public key's SHA-256 */
    const uint8_t *vendor_id; /* EK_ID_BYTES, and so has class_id */
    const uint8_t *class_id;
    const uint8_t *structure; /* EK_DIGEST_BYTES: what the image's numbers mean */
    const uint8_t *release;   /* EK_DIGEST_BYTES: the bundle that it was made from */
    const uint8_t *table;     /* EK_DIGEST_BYTES */
    const uint8_t *signature; /* EK_SIGNATURE_BYTES */
} ek_head;

/* Reads a head, whose pointers go into `bytes`; looks at nothing but its form. */
ek_reason ek_head_read(const uint8_t bytes[EK_HEAD_BYTES], ek_head *head);

#endif

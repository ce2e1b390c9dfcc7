/* One slot of flash: the head, the hashes of its blocks, and from the next multiple of a block's
 * size on the image. It is written from the front to the back. */
#ifndef EK_SLOT_H
#define EK_SLOT_H

#include "ek_update_port.h"

#ifndef EK_BLOCK_BYTES
#define EK_BLOCK_BYTES 1024u /* the largest block that is taken: a buffer of RAM has this size */
#endif
#if EK_BLOCK_BYTES < 256u
#error "EK_BLOCK_BYTES is a power of two, at least 256"
#endif

/* Where the image begins. */
uint32_t ek_slot_image_offset(const ek_head *head);

/* Everything that a head can say no by itself: form, sizes, ids, structure, counter, signature. */
ek_reason ek_head_check(const ek_port *port, const ek_device *device, uint32_t floor,
                        const uint8_t bytes[EK_HEAD_BYTES], ek_head *head);

/* The same of the head that `area` holds, which goes into `bytes`; its SHA-256 must be `digest`, and
 * every block as its hash says. */
ek_reason ek_slot_verify(const ek_port *port, const ek_device *device, uint32_t floor,
                         ek_area area, const uint8_t digest[EK_DIGEST_BYTES],
                         uint8_t bytes[EK_HEAD_BYTES], ek_head *head);

/* An update comes in parts: so many of its hashes as fit the buffer, then block by block. */
uint32_t ek_slot_parts(const ek_head *head);

/* Fetches one part, checks it and writes it; the first part brings the head with it. EK_LATER where
 * it could not be fetched, and then nothing was written. */
ek_reason ek_slot_fetch(const ek_port *port, ek_area area, const uint8_t bytes[EK_HEAD_BYTES],
                        const ek_head *head, uint32_t part, uint8_t buffer[EK_BLOCK_BYTES]);

/* The first part that has to be fetched after a cut. */
uint32_t ek_slot_resume(const ek_port *port, ek_area area, const uint8_t bytes[EK_HEAD_BYTES],
                        const ek_head *head);

#endif

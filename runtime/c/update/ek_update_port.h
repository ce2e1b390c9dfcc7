/* What the library asks of the firmware around it: flash, a way to fetch, keys, and the model. */
#ifndef EK_UPDATE_PORT_H
#define EK_UPDATE_PORT_H

#include <stdint.h>

#include "ek_envelope.h"

/* Two pages of flash for the journal, and two slots of whole pages for images. */
typedef enum {
    EK_JOURNAL_0 = 0,
    EK_JOURNAL_1 = 1,
    EK_SLOT_A = 2,
    EK_SLOT_B = 3,
} ek_area;

/* Functions return 0, or another number where it was not done. After each of them power may be gone,
 * and within each of them too: erasing and programming may stop anywhere, and leave any bits.
 * Programming goes forward in pieces that begin at multiples of 32 bytes and have whole multiples of
 * 32, each byte once after its page was erased: flash with units of up to 32 bytes fits. */
typedef struct {
    uint32_t page_bytes; /* what `erase` erases: a power of two, at least 128 */
    uint32_t slot_bytes; /* of each slot, whole pages */
    int (*read)(void *context, ek_area area, uint32_t offset, uint8_t *to, uint32_t bytes);
    int (*erase)(void *context, ek_area area, uint32_t offset); /* one page, to 0xFF */
    int (*program)(void *context, ek_area area, uint32_t offset, const uint8_t *from,
                   uint32_t bytes);
    /* Where a slot lies in memory, aligned to 8 bytes: models run from there. */
    const uint8_t *(*address)(void *context, ek_area area);
} ek_flash;

typedef struct {
    void *context; /* given to every function */
    ek_flash flash;

    /* `bytes` bytes of the update from `offset`: 0, or another number where there are none now. */
    int (*fetch)(void *context, uint32_t offset, uint8_t *to, uint32_t bytes);

    /* The output of the model `image` for an input as golden vectors have it, valid until the next
     * call; 0 where the model takes no input of so many bytes. `index` counts from 0. */
    const uint8_t *(*run)(void *context, const uint8_t *image, uint32_t index,
                          const uint8_t *input, uint32_t input_bytes, uint32_t output_bytes);

    /* 1 where the Ed25519 signature holds: ek_verify_here, or a chip's or TLS library's own. */
    int (*verify)(void *context, const uint8_t key[EK_KEY_BYTES], const uint8_t *message,
                  uint32_t bytes, const uint8_t signature[EK_SIGNATURE_BYTES]);
} ek_port;

/* What this firmware is, and whom it trusts. */
typedef struct {
    const uint8_t *vendor_id; /* EK_ID_BYTES */
    const uint8_t *class_id;  /* EK_ID_BYTES */
    const uint8_t *structure; /* EK_DIGEST_BYTES: MODEL_STRUCTURE of the generated code */
    const uint8_t (*keys)[EK_KEY_BYTES];
    uint32_t key_count;      /* two while keys change */
    uint32_t factory_counter; /* the security counter that no update may be below */
    uint8_t self_tests;       /* starts of a self-test before the image is refused, at least 1 */
    uint8_t trial_boots;      /* boots without ek_update_confirm before it is, at least 1 */
} ek_device;

#endif

#include "ek_envelope.h"

#include "ek_bytes.h"

#define SCHEMA_AND_SIZE (1u | (EK_HEAD_BYTES << 16))

ek_reason ek_head_read(const uint8_t bytes[EK_HEAD_BYTES], ek_head *head) {
    static const uint8_t magic[8] = {'E', 'K', 'U', 'P', 'D', 'A', 'T', 'E'};
    if (!ek_same(bytes, magic, sizeof magic) || ek_get_32(bytes + 8) != SCHEMA_AND_SIZE) {
        return EK_NO_ENVELOPE;
    }
    head->security_counter = ek_get_32(bytes + 12);
    head->image_bytes = ek_get_32(bytes + 16);
    head->block_bytes = ek_get_32(bytes + 20);
    head->key_id = bytes + 24;
    head->vendor_id = bytes + 32;
    head->class_id = bytes + 48;
    head->structure = bytes + 64;
    head->release = bytes + 96;
    head->table = bytes + 128;
    head->signature = bytes + EK_SIGNED_BYTES;
    const uint32_t block = head->block_bytes;
    if (block < EK_SMALLEST_BLOCK || (block & (block - 1u)) != 0u || head->image_bytes == 0u ||
        head->image_bytes % EK_IMAGE_UNIT != 0u) {
        return EK_BAD_SIZE;
    }
    head->blocks = ((head->image_bytes - 1u) / block) + 1u;
    return EK_FINE;
}

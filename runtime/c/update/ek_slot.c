#include "ek_slot.h"

#include "ek_bytes.h"

#define PIECE 64u /* bytes that are read at once */

static uint32_t table_bytes(const ek_head *head) {
    return head->blocks * EK_DIGEST_BYTES;
}

uint32_t ek_slot_image_offset(const ek_head *head) {
    const uint32_t last = head->block_bytes - 1u;
    return (EK_HEAD_BYTES + table_bytes(head) + last) & ~last;
}

static uint32_t block_offset(const ek_head *head, uint32_t block) {
    return ek_slot_image_offset(head) + (block * head->block_bytes);
}

static uint32_t bytes_of_block(const ek_head *head, uint32_t block) {
    return ek_least(head->block_bytes, head->image_bytes - (block * head->block_bytes));
}

static void digest_of(const uint8_t *bytes, uint32_t count, uint8_t digest[EK_DIGEST_BYTES]) {
    ek_sha256 hash;
    ek_sha256_init(&hash);
    ek_sha256_update(&hash, bytes, count);
    ek_sha256_final(&hash, digest);
}

/* Whether flash has bytes of this SHA-256. */
static int has_digest(const ek_port *port, ek_area area, uint32_t offset, uint32_t bytes,
                      const uint8_t expected[EK_DIGEST_BYTES]) {
    ek_sha256 hash;
    uint8_t piece[PIECE], digest[EK_DIGEST_BYTES];
    ek_sha256_init(&hash);
    for (uint32_t done = 0; done < bytes; done += PIECE) {
        const uint32_t count = ek_least(PIECE, bytes - done);
        if (port->flash.read(port->context, area, offset + done, piece, count) != 0) {
            return 0;
        }
        ek_sha256_update(&hash, piece, count);
    }
    ek_sha256_final(&hash, digest);
    return ek_same(digest, expected, EK_DIGEST_BYTES);
}

static int block_holds(const ek_port *port, ek_area area, const ek_head *head, uint32_t block) {
    uint8_t expected[EK_DIGEST_BYTES];
    const uint32_t place = EK_HEAD_BYTES + (block * EK_DIGEST_BYTES);
    return port->flash.read(port->context, area, place, expected, EK_DIGEST_BYTES) == 0 &&
           has_digest(port, area, block_offset(head, block), bytes_of_block(head, block),
                      expected);
}

/* Whether flash has these bytes, or where there are none, nothing but 0xFF. */
static int holds(const ek_port *port, ek_area area, uint32_t offset, const uint8_t *expected,
                 uint32_t bytes) {
    uint8_t piece[PIECE], blank[PIECE];
    ek_fill(blank, 0xFF, PIECE);
    for (uint32_t done = 0; done < bytes; done += PIECE) {
        const uint32_t count = ek_least(PIECE, bytes - done);
        if (port->flash.read(port->context, area, offset + done, piece, count) != 0 ||
            !ek_same(piece, expected != 0 ? expected + done : blank, count)) {
            return 0;
        }
    }
    return 1;
}

/* Writes on, erasing each page that begins within. */
static ek_reason write(const ek_port *port, ek_area area, uint32_t offset, const uint8_t *from,
                       uint32_t bytes) {
    const uint32_t page = port->flash.page_bytes;
    for (uint32_t at = (offset + page - 1u) & ~(page - 1u); at < offset + bytes; at += page) {
        if (port->flash.erase(port->context, area, at) != 0) {
            return EK_FLASH;
        }
    }
    if (port->flash.program(port->context, area, offset, from, bytes) != 0 ||
        !holds(port, area, offset, from, bytes)) {
        return EK_FLASH;
    }
    return EK_FINE;
}

/* The firmware's key of this id; null where it has none. */
static const uint8_t *find_key(const ek_device *device, const uint8_t id[EK_KEY_ID_BYTES]) {
    uint8_t digest[EK_DIGEST_BYTES];
    for (uint32_t i = 0; i < device->key_count; i++) {
        digest_of(device->keys[i], EK_KEY_BYTES, digest);
        if (ek_same(digest, id, EK_KEY_ID_BYTES)) {
            return device->keys[i];
        }
    }
    return 0;
}

ek_reason ek_head_check(const ek_port *port, const ek_device *device, uint32_t floor,
                        const uint8_t bytes[EK_HEAD_BYTES], ek_head *head) {
    const ek_reason form = ek_head_read(bytes, head);
    if (form != EK_FINE) {
        return form;
    }
    /* Image first: what does not exceed the slot cannot overflow in the sum. */
    if (head->block_bytes > EK_BLOCK_BYTES || head->image_bytes > port->flash.slot_bytes ||
        ek_slot_image_offset(head) > port->flash.slot_bytes - head->image_bytes) {
        return EK_BAD_SIZE;
    }
    const uint8_t *key = find_key(device, head->key_id);
    if (key == 0) {
        return EK_UNKNOWN_KEY;
    }
    if (!port->verify(port->context, key, bytes, EK_SIGNED_BYTES, head->signature)) {
        return EK_BAD_SIGNATURE;
    }
    if (!ek_same(head->vendor_id, device->vendor_id, EK_ID_BYTES) ||
        !ek_same(head->class_id, device->class_id, EK_ID_BYTES)) {
        return EK_OTHER_CLASS;
    }
    if (!ek_same(head->structure, device->structure, EK_DIGEST_BYTES)) {
        return EK_OTHER_STRUCTURE;
    }
    return head->security_counter < floor ? EK_OLD_COUNTER : EK_FINE;
}

ek_reason ek_slot_verify(const ek_port *port, const ek_device *device, uint32_t floor,
                         ek_area area, const uint8_t digest[EK_DIGEST_BYTES],
                         uint8_t bytes[EK_HEAD_BYTES], ek_head *head) {
    uint8_t found[EK_DIGEST_BYTES];
    if (port->flash.read(port->context, area, 0, bytes, EK_HEAD_BYTES) != 0) {
        return EK_FLASH;
    }
    digest_of(bytes, EK_HEAD_BYTES, found);
    if (!ek_same(found, digest, EK_DIGEST_BYTES)) {
        return EK_DAMAGED;
    }
    const ek_reason reason = ek_head_check(port, device, floor, bytes, head);
    if (reason != EK_FINE) {
        return reason;
    }
    if (!has_digest(port, area, EK_HEAD_BYTES, table_bytes(head), head->table)) {
        return EK_DAMAGED;
    }
    for (uint32_t block = 0; block < head->blocks; block++) {
        if (!block_holds(port, area, head, block)) {
            return EK_DAMAGED;
        }
    }
    return EK_FINE;
}

static uint32_t parts_of_table(const ek_head *head) {
    return (table_bytes(head) + EK_BLOCK_BYTES - 1u) / EK_BLOCK_BYTES;
}

uint32_t ek_slot_parts(const ek_head *head) {
    return parts_of_table(head) + head->blocks;
}

static ek_reason fetch_hashes(const ek_port *port, ek_area area,
                              const uint8_t bytes[EK_HEAD_BYTES], const ek_head *head,
                              uint32_t part, uint8_t buffer[EK_BLOCK_BYTES]) {
    const uint32_t from = part * EK_BLOCK_BYTES;
    const uint32_t count = ek_least(EK_BLOCK_BYTES, table_bytes(head) - from);
    if (port->fetch(port->context, EK_HEAD_BYTES + from, buffer, count) != 0) {
        return EK_LATER;
    }
    ek_reason reason = part == 0u ? write(port, area, 0, bytes, EK_HEAD_BYTES) : EK_FINE;
    if (reason == EK_FINE) {
        reason = write(port, area, EK_HEAD_BYTES + from, buffer, count);
    }
    if (reason == EK_FINE && part + 1u == parts_of_table(head) &&
        !has_digest(port, area, EK_HEAD_BYTES, table_bytes(head), head->table)) {
        reason = EK_DAMAGED;
    }
    return reason;
}

static ek_reason fetch_block(const ek_port *port, ek_area area, const ek_head *head,
                             uint32_t block, uint8_t buffer[EK_BLOCK_BYTES]) {
    uint8_t expected[EK_DIGEST_BYTES], found[EK_DIGEST_BYTES];
    const uint32_t count = bytes_of_block(head, block);
    const uint32_t from = EK_HEAD_BYTES + table_bytes(head) + (block * head->block_bytes);
    if (port->fetch(port->context, from, buffer, count) != 0) {
        return EK_LATER;
    }
    digest_of(buffer, count, found);
    if (port->flash.read(port->context, area, EK_HEAD_BYTES + (block * EK_DIGEST_BYTES), expected,
                         EK_DIGEST_BYTES) != 0) {
        return EK_FLASH;
    }
    if (!ek_same(found, expected, EK_DIGEST_BYTES)) {
        return EK_DAMAGED;
    }
    return write(port, area, block_offset(head, block), buffer, count);
}

ek_reason ek_slot_fetch(const ek_port *port, ek_area area, const uint8_t bytes[EK_HEAD_BYTES],
                        const ek_head *head, uint32_t part, uint8_t buffer[EK_BLOCK_BYTES]) {
    const uint32_t first = parts_of_table(head);
    return part < first ? fetch_hashes(port, area, bytes, head, part, buffer)
                        : fetch_block(port, area, head, part - first, buffer);
}

uint32_t ek_slot_resume(const ek_port *port, ek_area area, const uint8_t bytes[EK_HEAD_BYTES],
                        const ek_head *head) {
    if (!holds(port, area, 0, bytes, EK_HEAD_BYTES) ||
        !has_digest(port, area, EK_HEAD_BYTES, table_bytes(head), head->table)) {
        return 0;
    }
    uint32_t block = 0;
    while (block < head->blocks && block_holds(port, area, head, block)) {
        block++;
    }
    if (block < head->blocks &&
        !holds(port, area, block_offset(head, block), 0, bytes_of_block(head, block))) {
        /* Something was left there: begin again where its page begins, which erases it. */
        const uint32_t page = block_offset(head, block) & ~(port->flash.page_bytes - 1u);
        const uint32_t image = ek_slot_image_offset(head);
        if (page < image) {
            return 0;
        }
        block = (page - image) / head->block_bytes;
    }
    return parts_of_table(head) + block;
}

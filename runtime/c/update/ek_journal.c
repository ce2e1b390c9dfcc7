/* A record is valid where the first bytes of its SHA-256 say so. A cut while a page is erased or
 * programmed spoils that page alone, and the other one has the record before. */
#include "ek_journal.h"

#include "ek_bytes.h"

#define MAGIC 0x314A4B45u /* "EKJ1" */
#define CHECKED_BYTES 120u /* the rest is their hash's first 8 bytes */

static void pack(const ek_record *record, uint8_t bytes[EK_RECORD_BYTES]) {
    ek_sha256 hash;
    uint8_t digest[EK_SHA256_BYTES];
    ek_fill(bytes, 0, EK_RECORD_BYTES);
    ek_put_32(bytes, MAGIC);
    ek_put_32(bytes + 4, record->sequence);
    ek_put_32(bytes + 8, record->floor);
    bytes[12] = record->state;
    bytes[13] = record->tries;
    bytes[14] = record->active;
    bytes[15] = record->candidate;
    bytes[16] = record->outcome;
    bytes[17] = record->reason;
    ek_copy(bytes + 24, record->running, EK_DIGEST_BYTES);
    ek_copy(bytes + 56, record->previous, EK_DIGEST_BYTES);
    ek_copy(bytes + 88, record->offered, EK_DIGEST_BYTES);
    ek_sha256_init(&hash);
    ek_sha256_update(&hash, bytes, CHECKED_BYTES);
    ek_sha256_final(&hash, digest);
    ek_copy(bytes + CHECKED_BYTES, digest, EK_RECORD_BYTES - CHECKED_BYTES);
}

static void unpack(const uint8_t bytes[EK_RECORD_BYTES], ek_record *record) {
    record->sequence = ek_get_32(bytes + 4);
    record->floor = ek_get_32(bytes + 8);
    record->state = bytes[12];
    record->tries = bytes[13];
    record->active = bytes[14];
    record->candidate = bytes[15];
    record->outcome = bytes[16];
    record->reason = bytes[17];
    ek_copy(record->running, bytes + 24, EK_DIGEST_BYTES);
    ek_copy(record->previous, bytes + 56, EK_DIGEST_BYTES);
    ek_copy(record->offered, bytes + 88, EK_DIGEST_BYTES);
}

/* Whether the page holds a record: one that packs to the very bytes that were read. */
static int read_page(const ek_port *port, ek_area area, ek_record *record) {
    uint8_t bytes[EK_RECORD_BYTES], again[EK_RECORD_BYTES];
    if (port->flash.read(port->context, area, 0, bytes, EK_RECORD_BYTES) != 0) {
        return 0;
    }
    unpack(bytes, record);
    pack(record, again);
    return ek_same(bytes, again, EK_RECORD_BYTES);
}

static ek_area page_of(uint32_t sequence) {
    return (sequence & 1u) == 0u ? EK_JOURNAL_0 : EK_JOURNAL_1;
}

void ek_journal_open(const ek_port *port, uint32_t factory_counter, ek_record *record) {
    static const ek_record nothing = {0};
    ek_record other;
    const int first = read_page(port, EK_JOURNAL_0, record);
    const int second = read_page(port, EK_JOURNAL_1, &other);
    if (second && (!first || other.sequence > record->sequence)) {
        *record = other;
    } else if (!first) {
        *record = nothing;
    }
    if (record->floor < factory_counter) {
        record->floor = factory_counter;
    }
}

ek_reason ek_journal_write(const ek_port *port, ek_record *record) {
    uint8_t bytes[EK_RECORD_BYTES];
    ek_record written;
    record->sequence++;
    const ek_area area = page_of(record->sequence);
    pack(record, bytes);
    if (port->flash.erase(port->context, area, 0) != 0 ||
        port->flash.program(port->context, area, 0, bytes, EK_RECORD_BYTES) != 0 ||
        !read_page(port, area, &written) || written.sequence != record->sequence) {
        record->sequence--;
        return EK_FLASH;
    }
    return EK_FINE;
}

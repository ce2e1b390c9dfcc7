#include "ram_flash.h"

/* Words, so that images are aligned; the journal's pages take a slot's room each, for simplicity. */
static uint64_t areas[4][RAM_FLASH_SLOT / 8u];

static uint8_t *bytes_of(ek_area area) {
    return (uint8_t *)areas[area];
}

int ram_flash_read(void *context, ek_area area, uint32_t offset, uint8_t *to, uint32_t bytes) {
    (void)context;
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = bytes_of(area)[offset + i];
    }
    return 0;
}

int ram_flash_erase(void *context, ek_area area, uint32_t offset) {
    (void)context;
    for (uint32_t i = 0; i < RAM_FLASH_PAGE; i++) {
        bytes_of(area)[offset + i] = 0xFF;
    }
    return 0;
}

int ram_flash_program(void *context, ek_area area, uint32_t offset, const uint8_t *from,
                      uint32_t bytes) {
    (void)context;
    for (uint32_t i = 0; i < bytes; i++) {
        bytes_of(area)[offset + i] &= from[i];
    }
    return 0;
}

const uint8_t *ram_flash_address(void *context, ek_area area) {
    (void)context;
    return bytes_of(area);
}

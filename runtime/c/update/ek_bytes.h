/* Little things that a firmware without a C library lacks. */
#ifndef EK_BYTES_H
#define EK_BYTES_H

#include <stdint.h>

static inline uint32_t ek_get_32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8) | ((uint32_t)bytes[2] << 16) |
           ((uint32_t)bytes[3] << 24);
}

static inline void ek_put_32(uint8_t *bytes, uint32_t word) {
    for (uint32_t i = 0; i < 4u; i++) {
        bytes[i] = (uint8_t)(word >> (8u * i));
    }
}

static inline int ek_same(const uint8_t *a, const uint8_t *b, uint32_t bytes) {
    uint32_t i = 0;
    while (i < bytes && a[i] == b[i]) {
        i++;
    }
    return i == bytes;
}

static inline void ek_copy(uint8_t *to, const uint8_t *from, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = from[i];
    }
}

static inline void ek_fill(uint8_t *to, uint8_t value, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = value;
    }
}

static inline uint32_t ek_least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

#endif

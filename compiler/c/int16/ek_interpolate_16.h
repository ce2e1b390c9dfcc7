/* Between the two entries of a table of 513 that lie around a code, half up. */
#ifndef EK_INTERPOLATE_16_H
#define EK_INTERPOLATE_16_H

#include "ek_compiler.h"
#include "ek_requantize.h"

/* The low 16 bits as a number with a sign. */
EK_INLINE int32_t ek_wrap_16(int32_t x) {
    return ((x & 0xFFFF) ^ 0x8000) - 0x8000;
}

/* LiteRT keeps slopes and results in int16: steeper ones wrap. */
EK_INLINE int32_t ek_interpolate_16(const int16_t *table, int32_t code) {
    const int32_t index = 256 + (code >> 7);
    const int32_t base = table[index];
    const int32_t slope = ek_wrap_16(table[index + 1] - base);
    return ek_wrap_16(base + ((slope * (code & 127) + 64) >> 7));
}

#endif

/* Copies and fills of any number of bytes, sixteen at a time. */
#ifndef EK_SPANS_H
#define EK_SPANS_H

#include "ek_helium.h"

/* Return where the next bytes go. */
EK_INLINE int8_t *ek_copy_span(const int8_t *from, int32_t count, int8_t *to) {
    const int32_t rest = count & 15;
    for (int32_t vectors = count >> 4; vectors > 0; vectors--) {
        ek_store_bytes(to, ek_load_bytes(from));
        from += 16;
        to += 16;
        EK_KEEP(to);
    }
    if (rest != 0) {
        ek_store_first_bytes(to, ek_load_first_bytes(from, rest), rest);
    }
    return to + rest;
}

EK_INLINE int8_t *ek_fill_span(int32_t value, int32_t count, int8_t *to) {
    const ek_bytes bytes = ek_same_bytes(value);
    const int32_t rest = count & 15;
    for (int32_t vectors = count >> 4; vectors > 0; vectors--) {
        ek_store_bytes(to, bytes);
        to += 16;
        EK_KEEP(to);
    }
    if (rest != 0) {
        ek_store_first_bytes(to, bytes, rest);
    }
    return to + rest;
}

#endif

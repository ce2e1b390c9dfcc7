/* What ek_helium.h says, lane by lane in plain C. */
#ifndef EK_HELIUM_PLAIN_H
#define EK_HELIUM_PLAIN_H

#include <stdint.h>

#include "ek_compiler.h"
#include "ek_requantize.h"

#define EK_KEEP(value) ((void)(value))

typedef struct {
    int8_t lane[16];
} ek_bytes;

typedef struct {
    int16_t lane[8];
} ek_halves;

typedef struct {
    int32_t lane[4];
} ek_words;

#define EK_EACH(lanes) for (int32_t i = 0; i < (lanes); i++)

EK_INLINE ek_bytes ek_load_first_bytes(const int8_t *from, int32_t count) {
    ek_bytes a;
    EK_EACH(16) a.lane[i] = (int8_t)(i < count ? from[i] : 0);
    return a;
}

EK_INLINE ek_bytes ek_load_bytes(const int8_t *from) {
    return ek_load_first_bytes(from, 16);
}

EK_INLINE void ek_store_first_bytes(int8_t *to, ek_bytes a, int32_t count) {
    EK_EACH(16) {
        if (i < count) {
            to[i] = a.lane[i];
        }
    }
}

EK_INLINE void ek_store_bytes(int8_t *to, ek_bytes a) {
    ek_store_first_bytes(to, a, 16);
}

EK_INLINE ek_words ek_load_first_words(const int32_t *from, int32_t count) {
    ek_words a;
    EK_EACH(4) a.lane[i] = i < count ? from[i] : 0;
    return a;
}

EK_INLINE ek_words ek_load_words(const int32_t *from) {
    return ek_load_first_words(from, 4);
}

EK_INLINE void ek_store_words(int32_t *to, ek_words a) {
    EK_EACH(4) to[i] = a.lane[i];
}

EK_INLINE ek_words ek_load_first_widened(const int8_t *from, int32_t count) {
    ek_words a;
    EK_EACH(4) a.lane[i] = i < count ? from[i] : 0;
    return a;
}

EK_INLINE ek_words ek_load_widened(const int8_t *from) {
    return ek_load_first_widened(from, 4);
}

EK_INLINE void ek_store_first_low_bytes(int8_t *to, ek_words a, int32_t count) {
    EK_EACH(4) {
        if (i < count) {
            to[i] = (int8_t)a.lane[i];
        }
    }
}

EK_INLINE void ek_store_low_bytes(int8_t *to, ek_words a) {
    ek_store_first_low_bytes(to, a, 4);
}

EK_INLINE ek_bytes ek_same_bytes(int32_t value) {
    ek_bytes a;
    EK_EACH(16) a.lane[i] = (int8_t)value;
    return a;
}

EK_INLINE ek_words ek_four_words(int32_t a, int32_t b, int32_t c, int32_t d) {
    const ek_words words = {{a, b, c, d}};
    return words;
}

EK_INLINE ek_words ek_same_words(int32_t value) {
    return ek_four_words(value, value, value, value);
}

EK_INLINE int32_t ek_dot(int32_t sum, ek_bytes a, ek_bytes b) {
    EK_EACH(16) sum += a.lane[i] * b.lane[i];
    return sum;
}

EK_INLINE ek_halves ek_even_products(ek_bytes a, ek_bytes b) {
    ek_halves products;
    EK_EACH(8) products.lane[i] = (int16_t)(a.lane[2 * i] * b.lane[2 * i]);
    return products;
}

EK_INLINE ek_halves ek_odd_products(ek_bytes a, ek_bytes b) {
    ek_halves products;
    EK_EACH(8) products.lane[i] = (int16_t)(a.lane[2 * i + 1] * b.lane[2 * i + 1]);
    return products;
}

EK_INLINE ek_halves ek_add_halves(ek_halves a, ek_halves b) {
    EK_EACH(8) a.lane[i] = (int16_t)(a.lane[i] + b.lane[i]);
    return a;
}

EK_INLINE ek_words ek_add_words(ek_words a, ek_words b) {
    EK_EACH(4) a.lane[i] = (int32_t)((uint32_t)a.lane[i] + (uint32_t)b.lane[i]);
    return a;
}

EK_INLINE ek_words ek_negated(ek_words a) {
    EK_EACH(4) a.lane[i] = -a.lane[i];
    return a;
}

EK_INLINE ek_words ek_add_even(ek_words sums, ek_halves a) {
    EK_EACH(4) sums.lane[i] += a.lane[2 * i];
    return sums;
}

EK_INLINE ek_words ek_add_odd(ek_words sums, ek_halves a) {
    EK_EACH(4) sums.lane[i] += a.lane[2 * i + 1];
    return sums;
}

EK_INLINE ek_words ek_headroom(ek_words a, int32_t zero) {
    EK_EACH(4) a.lane[i] = (a.lane[i] - zero) * ((int32_t)1 << 20);
    return a;
}

EK_INLINE ek_words ek_doubled_high(ek_words a, ek_words b) {
    EK_EACH(4) a.lane[i] = ek_high_multiply(a.lane[i], b.lane[i]);
    return a;
}

EK_INLINE ek_words ek_high(ek_words a, ek_words b) {
    EK_EACH(4) a.lane[i] = (int32_t)(((int64_t)a.lane[i] * b.lane[i]) >> 32);
    return a;
}

EK_INLINE ek_words ek_shifted(ek_words a, ek_words shifts) {
    EK_EACH(4) {
        const int32_t right = -shifts.lane[i];
        a.lane[i] = (int32_t)((a.lane[i] + (((int64_t)1 << right) >> 1)) >> right);
    }
    return a;
}

EK_INLINE ek_words ek_nudged(ek_words a, ek_words shifts) {
    EK_EACH(4) a.lane[i] -= (int32_t)(a.lane[i] < 0 && shifts.lane[i] < 0);
    return a;
}

EK_INLINE ek_words ek_words_within(ek_words a, ek_words minimum, ek_words maximum) {
    EK_EACH(4) a.lane[i] = ek_clamp(a.lane[i], minimum.lane[i], maximum.lane[i]);
    return a;
}

EK_INLINE ek_bytes ek_bytes_within(ek_bytes a, ek_bytes minimum, ek_bytes maximum) {
    EK_EACH(16) a.lane[i] = (int8_t)ek_clamp(a.lane[i], minimum.lane[i], maximum.lane[i]);
    return a;
}

EK_INLINE ek_halves ek_narrowed_words(ek_words even, ek_words odd) {
    ek_halves a;
    EK_EACH(4) {
        a.lane[2 * i] = (int16_t)ek_clamp(even.lane[i], INT16_MIN, INT16_MAX);
        a.lane[2 * i + 1] = (int16_t)ek_clamp(odd.lane[i], INT16_MIN, INT16_MAX);
    }
    return a;
}

EK_INLINE ek_bytes ek_narrowed_halves(ek_halves even, ek_halves odd) {
    ek_bytes a;
    EK_EACH(8) {
        a.lane[2 * i] = (int8_t)ek_clamp(even.lane[i], INT8_MIN, INT8_MAX);
        a.lane[2 * i + 1] = (int8_t)ek_clamp(odd.lane[i], INT8_MIN, INT8_MAX);
    }
    return a;
}

EK_INLINE ek_halves ek_add_saturated(ek_halves a, int32_t b) {
    EK_EACH(8) a.lane[i] = (int16_t)ek_clamp(a.lane[i] + b, INT16_MIN, INT16_MAX);
    return a;
}

#endif

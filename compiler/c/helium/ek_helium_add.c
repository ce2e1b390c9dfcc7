#include "ek_helium_kernels.h"
#include "ek_rounding.h"

/* One addend: its zero point, and its factor in every lane. */
typedef struct {
    int32_t zero_point;
    ek_words multiplier, shift;
} addend;

static addend addend_of(int32_t zero_point, int32_t multiplier, int32_t shift) {
    addend result;
    result.zero_point = zero_point;
    result.multiplier = ek_same_words(multiplier);
    result.shift = ek_same_words(shift);
    return result;
}

typedef struct {
    addend first, second, both;
    ek_word_range range;
} sum;

EK_INLINE ek_words scaled(ek_words x, const addend *by) {
    return ek_round_clamped(ek_doubled_high(x, by->multiplier), by->shift);
}

EK_INLINE ek_words outputs(const sum *s, ek_words a, ek_words b) {
    const ek_words x = scaled(ek_headroom(a, s->first.zero_point), &s->first);
    const ek_words y = scaled(ek_headroom(b, s->second.zero_point), &s->second);
    return ek_placed(scaled(ek_add_words(x, y), &s->both), &s->range);
}

/* As ek_add, four at a time. */
void ek_helium_add(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    sum s;
    s.first = addend_of(p->a.zero_point, p->a.multiplier, p->a.shift);
    s.second = addend_of(p->b.zero_point, p->b.multiplier, p->b.shift);
    s.both = addend_of(0, p->output_multiplier, p->output_shift);
    s.range = ek_word_range_of(p->output_zero_point, p->minimum, p->maximum);
    const int32_t rest = p->size & 3;
    for (int32_t fours = p->size >> 2; fours > 0; fours--) {
        ek_store_low_bytes(output, outputs(&s, ek_load_widened(a), ek_load_widened(b)));
        a += 4;
        b += 4;
        output += 4;
    }
    if (rest != 0) {
        const ek_words x = ek_load_first_widened(a, rest), y = ek_load_first_widened(b, rest);
        ek_store_first_low_bytes(output, outputs(&s, x, y), rest);
    }
}

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

EK_INLINE ek_words scaled(ek_words x, const addend *by) {
    return ek_round_clamped(ek_doubled_high(x, by->multiplier), by->shift);
}

/* As ek_add, four at a time. */
void ek_helium_add(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    const addend first = addend_of(p->a.zero_point, p->a.multiplier, p->a.shift);
    const addend second = addend_of(p->b.zero_point, p->b.multiplier, p->b.shift);
    const addend both = addend_of(0, p->output_multiplier, p->output_shift);
    const ek_word_range range = ek_word_range_of(p->output_zero_point, p->minimum, p->maximum);
    for (int32_t left = p->size; left > 0; left -= 4) {
        const ek_words x = ek_headroom(ek_load_first_widened(a, left), first.zero_point);
        const ek_words y = ek_headroom(ek_load_first_widened(b, left), second.zero_point);
        const ek_words sum = ek_add_words(scaled(x, &first), scaled(y, &second));
        ek_store_first_low_bytes(output, ek_placed(scaled(sum, &both), &range), left);
        a += 4;
        b += 4;
        output += 4;
    }
}

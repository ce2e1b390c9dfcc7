#include "ek_helium_fully_connected.h"
#include "ek_helium_kernels.h"
#include "ek_rounding.h"

/* As ek_scale_once; ties are rounded up. */
static inline void finish(const void *output, int32_t channel, int32_t count, ek_words sums,
                          int8_t *to) {
    const ek_dense_output *const o = output;
    const ek_word_range range = ek_word_range_of(o->zero_point, o->minimum, o->maximum);
    ek_words multipliers, shifts;
    if (o->channels == 0) {
        multipliers = ek_same_words(o->multiplier[0]);
        shifts = ek_same_words(-o->shift[0]);
    } else {
        multipliers = ek_load_first_words(o->multiplier + channel, count);
        shifts = ek_negated(ek_load_first_widened(o->shift + channel, count));
    }
    const ek_words scaled = ek_shifted(ek_high(sums, multipliers), shifts);
    ek_store_first_low_bytes(to, ek_placed(scaled, &range), count);
}

void ek_helium_fully_connected(const ek_fully_connected_params *p, const int8_t *input,
                               int8_t *output) {
    ek_helium_dense_rows(&p->dense, &p->output, input, output, finish);
}

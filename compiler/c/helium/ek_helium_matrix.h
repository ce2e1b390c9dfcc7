/* A column times the weight matrix: the inner part of convolutions. */
#ifndef EK_HELIUM_MATRIX_H
#define EK_HELIUM_MATRIX_H

#include "ek_portable.h"
#include "ek_rounding.h"
#include "ek_strips.h"

/* What p says, apart from it: stores of int8 could alias p, and it would be read again. */
typedef struct {
    const int8_t *weights;
    int32_t taps, channels;
    ek_output output;
    ek_word_range range;
} ek_helium_matrix;

EK_INLINE ek_helium_matrix ek_helium_matrix_of(const ek_conv2d_params *p) {
    ek_helium_matrix m;
    m.weights = p->weights;
    m.taps = p->taps;
    m.channels = p->out_channels;
    m.output = p->output;
    m.range = ek_word_range_of(p->output.zero_point, p->output.minimum, p->output.maximum);
    return m;
}

/* All channels of one pixel. */
EK_INLINE void ek_helium_multiply(const ek_helium_matrix *m, const int8_t *column, int8_t *output,
                                  ek_rounder round) {
    const ek_output *const o = &m->output;
    const int8_t *weights = m->weights;
    const int32_t taps = m->taps;
    int32_t channel = 0;
    for (; channel + 4 <= m->channels; channel += 4) {
        const ek_words sums = ek_strip_sums(column, weights, taps, o->bias + channel);
        const ek_words high = ek_doubled_high(sums, ek_load_words(o->multiplier + channel));
        const ek_words scaled = round(high, ek_load_widened(o->shift + channel));
        ek_store_low_bytes(output + channel, ek_placed(scaled, &m->range));
        weights += 4 * taps;
    }
    const int32_t rest = m->channels - channel;
    if (rest != 0) {
        const ek_words products = ek_rest_sums(column, weights, taps, rest);
        const ek_words bias = ek_load_first_words(o->bias + channel, rest);
        const ek_words multiplier = ek_load_first_words(o->multiplier + channel, rest);
        const ek_words high = ek_doubled_high(ek_add_words(products, bias), multiplier);
        const ek_words scaled = round(high, ek_load_first_widened(o->shift + channel, rest));
        ek_store_first_low_bytes(output + channel, ek_placed(scaled, &m->range), rest);
    }
}

#endif

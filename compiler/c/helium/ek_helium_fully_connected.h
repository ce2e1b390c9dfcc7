/* Fully connected layers: four outputs at a time. */
#ifndef EK_HELIUM_FULLY_CONNECTED_H
#define EK_HELIUM_FULLY_CONNECTED_H

#include "ek_portable.h"
#include "ek_single_rounding.h"
#include "ek_strips.h"

/* Stores the outputs of the sums of `count` channels from `channel` on; `output` is the struct of
 * the finisher's name. */
typedef void (*ek_four_finisher)(const void *output, int32_t channel, int32_t count, ek_words sums,
                                 int8_t *to);

EK_INLINE void ek_helium_dense_row(const ek_dense *p, const void *scaling, const int8_t *input,
                                   int8_t *output, ek_four_finisher finish) {
    const int8_t *weights = p->weights;
    const int32_t taps = p->in_size;
    int32_t channel = 0;
    for (; channel + 4 <= p->out_size; channel += 4) {
        const ek_words sums = ek_strip_sums(input, weights, taps, p->bias + channel);
        finish(scaling, channel, 4, sums, output + channel);
        weights += 4 * taps;
    }
    const int32_t rest = p->out_size - channel;
    if (rest != 0) {
        const ek_words products = ek_rest_sums(input, weights, taps, rest);
        const ek_words bias = ek_load_first_words(p->bias + channel, rest);
        finish(scaling, channel, rest, ek_add_words(products, bias), output + channel);
    }
}

EK_INLINE void ek_helium_dense_rows(const ek_dense *p, const void *scaling, const int8_t *input,
                                    int8_t *output, ek_four_finisher finish) {
    for (int32_t row = 0; row < p->rows; row++) {
        ek_helium_dense_row(p, scaling, input, output, finish);
        input += p->in_size;
        output += p->out_size;
    }
}

/* One by one, for factors that vectors have no arithmetic for. */
EK_INLINE void ek_finish_each(const void *output, int32_t channel, int32_t count, ek_words sums,
                              int8_t *to, ek_dense_finisher finish) {
    int32_t each[4];
    ek_store_words(each, sums);
    for (int32_t i = 0; i < count; i++) {
        to[i] = finish(output, channel + i, each[i]);
    }
}

#endif

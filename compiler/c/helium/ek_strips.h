/* Sums of products of a column with the weights of four channels at a time.
 *
 * Weights are [out_channels / 4][taps / 16][4][16], the taps that are left as [4][taps % 16] after
 * each four channels' strips; then [taps] for each channel that is left; then zeros, because whole
 * vectors of weights are loaded where a column has fewer bytes left.
 */
#ifndef EK_STRIPS_H
#define EK_STRIPS_H

#include "ek_helium.h"

EK_INLINE ek_words ek_strip_sums(const int8_t *column, const int8_t *weights, int32_t taps,
                                 const int32_t *bias) {
    int32_t a = bias[0], b = bias[1], c = bias[2], d = bias[3];
    EK_KEEP(a);
    EK_KEEP(b);
    EK_KEEP(c);
    EK_KEEP(d);
    for (int32_t strips = taps >> 4; strips > 0; strips--) {
        const ek_bytes x = ek_load_bytes(column);
        const ek_bytes first = ek_load_bytes(weights);
        column += 16;
        weights += 64;
        EK_KEEP(column);
        EK_KEEP(weights);
        a = ek_dot(a, x, first);
        b = ek_dot(b, x, ek_load_bytes(weights - 48));
        c = ek_dot(c, x, ek_load_bytes(weights - 32));
        d = ek_dot(d, x, ek_load_bytes(weights - 16));
    }
    const int32_t rest = taps & 15;
    if (rest != 0) {
        const ek_bytes x = ek_load_first_bytes(column, rest);
        a = ek_dot(a, x, ek_load_bytes(weights));
        b = ek_dot(b, x, ek_load_bytes(weights + rest));
        c = ek_dot(c, x, ek_load_bytes(weights + 2 * rest));
        d = ek_dot(d, x, ek_load_bytes(weights + 3 * rest));
    }
    return ek_four_words(a, b, c, d);
}

/* The one to three channels that are left; other words are 0. */
EK_INLINE ek_words ek_rest_sums(const int8_t *column, const int8_t *weights, int32_t taps,
                                int32_t channels) {
    int32_t sums[4] = {0, 0, 0, 0};
    for (int32_t channel = 0; channel < channels; channel++) {
        int32_t sum = 0;
        for (int32_t tap = 0; tap < taps; tap += 16) {
            const ek_bytes x = ek_load_first_bytes(column + tap, taps - tap);
            sum = ek_dot(sum, x, ek_load_bytes(weights + tap));
        }
        sums[channel] = sum;
        weights += taps;
    }
    return ek_four_words(sums[0], sums[1], sums[2], sums[3]);
}

#endif

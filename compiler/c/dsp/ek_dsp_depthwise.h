/* Depthwise convolutions with windows of 3 by 3, channel by channel on a padded plane. */
#ifndef EK_DSP_DEPTHWISE_H
#define EK_DSP_DEPTHWISE_H

#include "ek_finish.h"
#include "ek_plane.h"

/* The taps of one channel in pairs: outer are columns 0 and 2 of a row, middle is column 1 of
 * rows 0 and 1, last is column 1 of row 2. */
typedef struct {
    uint32_t outer[3];
    uint32_t middle;
    int32_t last;
} ek_taps;

/* Nine bytes: (0,0) (1,0) (0,2) (1,2), (2,0) (0,1) (2,2) (1,1), (2,1), as (row, column). */
EK_INLINE ek_taps ek_taps_of(const int8_t *weights) {
    const uint32_t first = ek_load4(weights), second = ek_load4(weights + 4);
    ek_taps taps;
    taps.outer[0] = ek_even(first);
    taps.outer[1] = ek_odd(first);
    taps.outer[2] = ek_even(second);
    taps.middle = ek_odd(second);
    taps.last = weights[8];
    return taps;
}

/* One output: columns 0..2 at `row`, whose word may reach one byte further. */
EK_INLINE int32_t ek_window_3x3(const int8_t *row, int32_t width, const ek_taps *taps,
                                int32_t sum) {
    const uint32_t top = ek_load4(row), centre = ek_load4(row + width);
    const uint32_t bottom = ek_load4(row + 2 * width);
    sum = ek_dot2(ek_even(top), taps->outer[0], sum);
    sum = ek_dot2(ek_even(centre), taps->outer[1], sum);
    sum = ek_dot2(ek_even(bottom), taps->outer[2], sum);
    sum += ek_low(ek_odd(top)) * ek_low(taps->middle);
    sum += ek_low(ek_odd(centre)) * ek_high(taps->middle);
    return sum + ek_low(ek_odd(bottom)) * taps->last;
}

/* Two outputs side by side from the four columns at `row`. */
EK_INLINE void ek_window_3x3_twice(const int8_t *row, int32_t width, const ek_taps *taps,
                                   int32_t bias, int32_t sums[2]) {
    uint32_t word = ek_load4(row), even = ek_even(word), odd = ek_odd(word);
    int32_t a = ek_dot2(even, taps->outer[0], bias), b = ek_dot2(odd, taps->outer[0], bias);
    a += ek_low(odd) * ek_low(taps->middle);
    b += ek_high(even) * ek_low(taps->middle);
    word = ek_load4(row + width), even = ek_even(word), odd = ek_odd(word);
    a = ek_dot2(even, taps->outer[1], a), b = ek_dot2(odd, taps->outer[1], b);
    a += ek_low(odd) * ek_high(taps->middle);
    b += ek_high(even) * ek_high(taps->middle);
    word = ek_load4(row + 2 * width), even = ek_even(word), odd = ek_odd(word);
    a = ek_dot2(even, taps->outer[2], a), b = ek_dot2(odd, taps->outer[2], b);
    sums[0] = a + ek_low(odd) * taps->last;
    sums[1] = b + ek_high(even) * taps->last;
}

/* One row of outputs of one channel, `channels` bytes apart. */
EK_INLINE void ek_depthwise_row(const ek_depthwise_conv2d_params *p, const int8_t *row,
                                const ek_taps *taps, int32_t bias, const ek_factor *factor,
                                int8_t *output, ek_finisher finish) {
    const int32_t width = p->plane_width, channels = p->channels;
    const int32_t stride = p->window.stride_width;
    int32_t left = p->window.out_width;
    if (stride == 1) {
        for (; left >= 2; left -= 2) {
            int32_t sums[2];
            ek_window_3x3_twice(row, width, taps, bias, sums);
            output[0] = finish(sums[0], factor);
            output[channels] = finish(sums[1], factor);
            row += 2;
            output += 2 * channels;
        }
    }
    for (; left > 0; left--) {
        *output = finish(ek_window_3x3(row, width, taps, bias), factor);
        row += stride;
        output += channels;
    }
}

/* scratch: the plane, plane_height * plane_width bytes and one more. Weights are nine bytes for
 * each channel. */
EK_INLINE void ek_dsp_depthwise(const ek_depthwise_conv2d_params *p, const int8_t *input,
                                int8_t *output, void *scratch, ek_finisher finish) {
    int8_t *const plane = scratch;
    const int8_t *weights = p->weights;
    ek_plane_clear(p, plane);
    for (int32_t channel = 0; channel < p->channels; channel++) {
        if (channel % p->multiplier == 0) {
            ek_plane_copy(p, input, channel / p->multiplier, plane);
        }
        const ek_taps taps = ek_taps_of(weights);
        const ek_factor factor = ek_factor_of(&p->output, channel);
        const int32_t bias = p->output.bias[channel];
        const int8_t *row = plane;
        int8_t *to = output + channel;
        for (int32_t y = 0; y < p->window.out_height; y++) {
            ek_depthwise_row(p, row, &taps, bias, &factor, to, finish);
            row += p->window.stride_height * p->plane_width;
            to += p->window.out_width * p->channels;
        }
        weights += 9;
    }
}

#endif

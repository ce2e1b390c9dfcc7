/* Depthwise convolutions with windows of 3 by 3, channel by channel on a padded plane. */
#ifndef EK_DSP_DEPTHWISE_H
#define EK_DSP_DEPTHWISE_H

#include "ek_finish.h"
#include "ek_plane.h"

/* The taps of one channel in pairs, doubled because ek_finisher takes twice the sum: outer are
 * columns 0 and 2 of a row, middle is column 1 of rows 0 and 1, last is column 1 of row 2. */
typedef struct {
    uint32_t outer0, outer1, outer2;
    uint32_t middle;
    int32_t last;
    int32_t bias;
} ek_taps;

/* Nine bytes: (0,0) (1,0) (0,2) (1,2), (2,0) (0,1) (2,2) (1,1), (2,1), as (row, column). */
EK_INLINE ek_taps ek_taps_of(const int8_t *weights, int32_t bias) {
    const uint32_t first = ek_load4(weights), second = ek_load4(weights + 4);
    ek_taps taps;
    taps.outer0 = ek_twice(ek_even(first));
    taps.outer1 = ek_twice(ek_odd(first));
    taps.outer2 = ek_twice(ek_even(second));
    taps.middle = ek_twice(ek_odd(second));
    taps.last = 2 * weights[8];
    taps.bias = 2 * bias;
    return taps;
}

#if EK_DSP_INSTRUCTIONS

/* Twice the sum of the window whose first tap is at `row`; words reach one byte further. */
EK_INLINE int32_t ek_window_3x3(const int8_t *row, int32_t width, const ek_taps *taps) {
    int32_t sum = taps->bias;
    uint32_t even, odd;
    __asm__ volatile(
        "ldr %[odd], [%[row]]\n"
        "sxtb16 %[even], %[odd]\n"
        "sxtb16 %[odd], %[odd], ror #8\n"
        "smlad %[sum], %[even], %[outer0], %[sum]\n"
        "smlabb %[sum], %[odd], %[middle], %[sum]\n"
        "ldr %[odd], [%[row], %[width]]\n"
        "sxtb16 %[even], %[odd]\n"
        "sxtb16 %[odd], %[odd], ror #8\n"
        "smlad %[sum], %[even], %[outer1], %[sum]\n"
        "smlabt %[sum], %[odd], %[middle], %[sum]\n"
        "ldr %[odd], [%[row], %[width], lsl #1]\n"
        "sxtb16 %[even], %[odd]\n"
        "sxtb16 %[odd], %[odd], ror #8\n"
        "smlad %[sum], %[even], %[outer2], %[sum]\n"
        "smlabb %[sum], %[odd], %[last], %[sum]\n"
        : [sum] "+r"(sum), [even] "=&r"(even), [odd] "=&r"(odd)
        : [row] "r"(row), [width] "r"(width), [outer0] "r"(taps->outer0),
          [outer1] "r"(taps->outer1), [outer2] "r"(taps->outer2), [middle] "r"(taps->middle),
          [last] "r"(taps->last)
        : "memory");
    return sum;
}

/* The same for two windows side by side, which share the four columns of their words. */
EK_INLINE void ek_windows_3x3(const int8_t *row, int32_t width, const ek_taps *taps,
                              int32_t sums[2]) {
    int32_t a = taps->bias, b = a;
    uint32_t even, odd;
    __asm__ volatile(
        "ldr %[odd], [%[row]]\n"
        "sxtb16 %[even], %[odd]\n"
        "sxtb16 %[odd], %[odd], ror #8\n"
        "smlad %[a], %[even], %[outer0], %[a]\n"
        "smlad %[b], %[odd], %[outer0], %[b]\n"
        "smlabb %[a], %[odd], %[middle], %[a]\n"
        "smlatb %[b], %[even], %[middle], %[b]\n"
        "ldr %[odd], [%[row], %[width]]\n"
        "sxtb16 %[even], %[odd]\n"
        "sxtb16 %[odd], %[odd], ror #8\n"
        "smlad %[a], %[even], %[outer1], %[a]\n"
        "smlad %[b], %[odd], %[outer1], %[b]\n"
        "smlabt %[a], %[odd], %[middle], %[a]\n"
        "smlatt %[b], %[even], %[middle], %[b]\n"
        "ldr %[odd], [%[row], %[width], lsl #1]\n"
        "sxtb16 %[even], %[odd]\n"
        "sxtb16 %[odd], %[odd], ror #8\n"
        "smlad %[a], %[even], %[outer2], %[a]\n"
        "smlad %[b], %[odd], %[outer2], %[b]\n"
        "smlabb %[a], %[odd], %[last], %[a]\n"
        "smlatb %[b], %[even], %[last], %[b]\n"
        : [a] "+r"(a), [b] "+r"(b), [even] "=&r"(even), [odd] "=&r"(odd)
        : [row] "r"(row), [width] "r"(width), [outer0] "r"(taps->outer0),
          [outer1] "r"(taps->outer1), [outer2] "r"(taps->outer2), [middle] "r"(taps->middle),
          [last] "r"(taps->last)
        : "memory");
    sums[0] = a;
    sums[1] = b;
}

#else

EK_INLINE int32_t ek_window_3x3(const int8_t *row, int32_t width, const ek_taps *taps) {
    const uint32_t top = ek_load4(row), centre = ek_load4(row + width);
    const uint32_t bottom = ek_load4(row + 2 * width);
    int32_t sum = ek_dot2(ek_even(top), taps->outer0, taps->bias);
    sum = ek_dot2(ek_even(centre), taps->outer1, sum);
    sum = ek_dot2(ek_even(bottom), taps->outer2, sum);
    sum += ek_low(ek_odd(top)) * ek_low(taps->middle);
    sum += ek_low(ek_odd(centre)) * ek_high(taps->middle);
    return sum + ek_low(ek_odd(bottom)) * taps->last;
}

EK_INLINE void ek_windows_3x3(const int8_t *row, int32_t width, const ek_taps *taps,
                              int32_t sums[2]) {
    sums[0] = ek_window_3x3(row, width, taps);
    sums[1] = ek_window_3x3(row + 1, width, taps);
}

#endif

/* All outputs of one channel where windows move by one column: two at a time. */
EK_INLINE void ek_depthwise_dense(const ek_depthwise_conv2d_params *p, const int8_t *row,
                                  ek_taps taps, ek_factor factor, int8_t *output,
                                  ek_finisher finish) {
    const int32_t width = p->plane_width, step = p->channels, out_width = p->window.out_width;
    const int32_t next_row = p->window.stride_height * width - (out_width & ~1);
    for (int32_t y = p->window.out_height; y > 0; y--) {
        for (const int8_t *const end = row + (out_width & ~1); row != end; row += 2) {
            int32_t sums[2];
            ek_windows_3x3(row, width, &taps, sums);
            output[0] = finish(sums[0], &factor);
            output[step] = finish(sums[1], &factor);
            output += 2 * step;
        }
        if (out_width & 1) {
            *output = finish(ek_window_3x3(row, width, &taps), &factor);
            output += step;
        }
        row += next_row;
    }
}

/* All outputs of one channel, any stride. */
EK_INLINE void ek_depthwise_strided(const ek_depthwise_conv2d_params *p, const int8_t *row,
                                    ek_taps taps, ek_factor factor, int8_t *output,
                                    ek_finisher finish) {
    const int32_t width = p->plane_width, step = p->channels, stride = p->window.stride_width;
    const int32_t row_length = p->window.out_width * stride;
    const int32_t next_row = p->window.stride_height * width - row_length;
    for (int32_t y = p->window.out_height; y > 0; y--) {
        for (const int8_t *const end = row + row_length; row != end; row += stride) {
            *output = finish(ek_window_3x3(row, width, &taps), &factor);
            output += step;
        }
        row += next_row;
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
        const ek_taps taps = ek_taps_of(weights, p->output.bias[channel]);
        const ek_factor factor = ek_factor_of(&p->output, channel);
        if (p->window.stride_width == 1) {
            ek_depthwise_dense(p, plane, taps, factor, output + channel, finish);
        } else {
            ek_depthwise_strided(p, plane, taps, factor, output + channel, finish);
        }
        weights += 9;
    }
}

#endif

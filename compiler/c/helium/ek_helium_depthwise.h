/* Depthwise convolutions of any window, sixteen channels at a time on a band of padded rows.
 *
 * All is in whole sixteens, those after the last channel count for nothing. Weights are
 * [sixteens][taps][16]. Biases, multipliers and shifts are in the order in which vectors hold their
 * sums: channels 0 4 8 12, 2 6 10 14, 1 5 9 13, 3 7 11 15. Two products fit a half, so no
 * two weights of a channel that follow each other are both -128.
 */
#ifndef EK_HELIUM_DEPTHWISE_H
#define EK_HELIUM_DEPTHWISE_H

#include "ek_rounding.h"
#include "ek_spans.h"

/* Sums of sixteen channels in the order above. */
typedef struct {
    ek_words a, b, c, d;
} ek_lanes;

/* Row `y` of the padded input, plane_width pixels. */
EK_INLINE void ek_band_row(const ek_depthwise_conv2d_params *p, const int8_t *input, int32_t y,
                           int8_t *row) {
    const ek_window *w = &p->window;
    const int32_t channels = p->channels, zero = p->input_zero_point;
    const int32_t from = y - w->pad_top;
    if (from < 0 || from >= w->in_height) {
        ek_fill_span(zero, p->plane_width * channels, row);
        return;
    }
    const int32_t left = w->pad_left < p->plane_width ? w->pad_left : p->plane_width;
    const int32_t room = p->plane_width - left;
    const int32_t width = w->in_width < room ? w->in_width : room;
    row = ek_fill_span(zero, left * channels, row);
    row = ek_copy_span(input + from * w->in_width * channels, width * channels, row);
    ek_fill_span(zero, (room - width) * channels, row);
}

/* Where in the band the taps of the first window of a row lie, whose first row is `first`. */
EK_INLINE void ek_tap_offsets(const ek_depthwise_conv2d_params *p, int32_t first, int32_t kept,
                              int32_t *offsets) {
    const ek_window *w = &p->window;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = (first + ky * w->dilation_height) % kept * p->plane_width;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            *offsets++ = (row + kx * w->dilation_width) * p->channels;
        }
    }
}

EK_INLINE void ek_add_products(ek_lanes *sums, ek_halves even, ek_halves odd) {
    sums->a = ek_add_even(sums->a, even);
    sums->b = ek_add_odd(sums->b, even);
    sums->c = ek_add_even(sums->c, odd);
    sums->d = ek_add_odd(sums->d, odd);
}

/* Up to sixteen channels: their weights and where their factors begin. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    int32_t count, zero_point, minimum, maximum;
} ek_lane_block;

EK_INLINE ek_lane_block ek_lane_block_of(const ek_depthwise_conv2d_params *p, int32_t taps,
                                         int32_t channel) {
    const int32_t rest = p->channels - channel;
    ek_lane_block block;
    block.weights = p->weights + channel * taps;
    block.bias = p->output.bias + channel;
    block.multiplier = p->output.multiplier + channel;
    block.shift = p->output.shift + channel;
    block.count = rest < 16 ? rest : 16;
    block.zero_point = p->output.zero_point;
    block.minimum = p->output.minimum;
    block.maximum = p->output.maximum;
    return block;
}

#if EK_HELIUM_INSTRUCTIONS

/* Two taps, whose products share halves; steps to the next two. It needs all eight vectors: the
 * second tap's bytes are loaded twice, and GCC would rather keep a sum in memory. */
EK_INLINE void ek_add_pair(ek_lanes *sums, const int8_t *at, const int32_t **offsets,
                           const int8_t **weights) {
    ek_bytes v, x, y, even;
    const int8_t *first, *second;
    __asm__ volatile(
        "ldrd %[first], %[second], [%[offsets]], #8\n"
        "add %[first], %[first], %[at]\n"
        "add %[second], %[second], %[at]\n"
        "vldrb.8 %q[x], [%[first]]\n"
        "vldrb.8 %q[v], [%[weights]], #16\n"
        "vmullb.s8 %q[even], %q[x], %q[v]\n"
        "vldrb.8 %q[y], [%[second]]\n"
        "vmullt.s8 %q[x], %q[x], %q[v]\n"
        "vldrb.8 %q[v], [%[weights]], #16\n"
        "vmullb.s8 %q[y], %q[y], %q[v]\n"
        "vadd.i16 %q[even], %q[even], %q[y]\n"
        "vldrb.8 %q[y], [%[second]]\n"
        "vmullt.s8 %q[y], %q[y], %q[v]\n"
        "vadd.i16 %q[x], %q[x], %q[y]\n"
        "vmovlb.s16 %q[y], %q[even]\n"
        "vmovlt.s16 %q[even], %q[even]\n"
        "vadd.i32 %q[a], %q[a], %q[y]\n"
        "vmovlb.s16 %q[y], %q[x]\n"
        "vadd.i32 %q[b], %q[b], %q[even]\n"
        "vmovlt.s16 %q[x], %q[x]\n"
        "vadd.i32 %q[c], %q[c], %q[y]\n"
        "vadd.i32 %q[d], %q[d], %q[x]\n"
        : [a] "+w"(sums->a), [b] "+w"(sums->b), [c] "+w"(sums->c), [d] "+w"(sums->d),
          [v] "=&w"(v), [x] "=&w"(x), [y] "=&w"(y), [even] "=&w"(even), [first] "=&r"(first),
          [second] "=&r"(second), [offsets] "+r"(*offsets), [weights] "+r"(*weights)
        : [at] "r"(at)
        : "memory");
}

#else

EK_INLINE void ek_add_pair(ek_lanes *sums, const int8_t *at, const int32_t **offsets,
                           const int8_t **weights) {
    const ek_bytes x = ek_load_bytes(at + (*offsets)[0]), y = ek_load_bytes(at + (*offsets)[1]);
    const ek_bytes v = ek_load_bytes(*weights), w = ek_load_bytes(*weights + 16);
    ek_add_products(sums, ek_add_halves(ek_even_products(x, v), ek_even_products(y, w)),
                    ek_add_halves(ek_odd_products(x, v), ek_odd_products(y, w)));
    *offsets += 2;
    *weights += 32;
}

#endif

/* One pixel. */
EK_INLINE ek_lanes ek_window_sums(const ek_lane_block *block, const int8_t *at,
                                  const int32_t *offsets, int32_t taps) {
    const int8_t *weights = block->weights;
    const int32_t *bias = block->bias;
    EK_KEEP(bias);
    ek_lanes sums = {ek_load_words(bias), ek_load_words(bias + 4), ek_load_words(bias + 8),
                     ek_load_words(bias + 12)};
    for (int32_t pairs = taps >> 1; pairs > 0; pairs--) {
        ek_add_pair(&sums, at, &offsets, &weights);
    }
    if ((taps & 1) != 0) {
        const ek_bytes x = ek_load_bytes(at + offsets[0]), v = ek_load_bytes(weights);
        ek_add_products(&sums, ek_even_products(x, v), ek_odd_products(x, v));
    }
    return sums;
}

EK_INLINE ek_words ek_lane_scaled(ek_words sums, const int32_t *multiplier, const int8_t *shift,
                                  ek_rounder round) {
    return round(ek_doubled_high(sums, ek_load_words(multiplier)), ek_load_widened(shift));
}

EK_INLINE ek_bytes ek_lanes_scaled(const ek_lanes *sums, const ek_lane_block *block,
                                   ek_rounder round) {
    const int32_t *multiplier = block->multiplier;
    const int8_t *shift = block->shift;
    EK_KEEP(multiplier);
    EK_KEEP(shift);
    const ek_words a = ek_lane_scaled(sums->a, multiplier, shift, round);
    const ek_words b = ek_lane_scaled(sums->b, multiplier + 4, shift + 4, round);
    const ek_words c = ek_lane_scaled(sums->c, multiplier + 8, shift + 8, round);
    const ek_words d = ek_lane_scaled(sums->d, multiplier + 12, shift + 12, round);
    const ek_halves even = ek_add_saturated(ek_narrowed_words(a, b), block->zero_point);
    const ek_halves odd = ek_add_saturated(ek_narrowed_words(c, d), block->zero_point);
    return ek_bytes_within(ek_narrowed_halves(even, odd), ek_same_bytes(block->minimum),
                           ek_same_bytes(block->maximum));
}

/* One row of outputs; windows begin at `at`. */
EK_INLINE void ek_lane_row(const ek_depthwise_conv2d_params *p, const ek_lane_block *block,
                           const int8_t *at, const int32_t *offsets, int32_t taps, int8_t *output,
                           ek_rounder round) {
    const int32_t channels = p->channels, step = p->window.stride_width * channels;
    for (int32_t left = p->window.out_width; left > 0; left--) {
        const ek_lanes sums = ek_window_sums(block, at, offsets, taps);
        const ek_bytes scaled = ek_lanes_scaled(&sums, block, round);
        if (block->count == 16) {
            ek_store_bytes(output, scaled);
        } else {
            ek_store_first_bytes(output, scaled, block->count);
        }
        at += step;
        output += channels;
    }
}

/* scratch: an offset for each tap, 4 bytes, then the band: as many rows as a window reaches over,
 * each with plane_width pixels, and 15 bytes that the last vector reads. Rows are copied as windows
 * come to them, so that outputs may take the place of inputs above. */
EK_INLINE void ek_helium_depthwise(const ek_depthwise_conv2d_params *p, const int8_t *input,
                                   int8_t *output, void *scratch, ek_rounder round) {
    const ek_window *w = &p->window;
    const int32_t channels = p->channels, taps = w->kernel_height * w->kernel_width;
    const int32_t kept = (w->kernel_height - 1) * w->dilation_height + 1;
    const int32_t row_bytes = p->plane_width * channels;
    int32_t *const offsets = scratch;
    int8_t *const band = (int8_t *)(offsets + taps);
    int32_t next = 0;
    for (int32_t y = 0; y < w->out_height; y++) {
        const int32_t first = y * w->stride_height;
        next = next < first ? first : next;
        for (; next < first + kept; next++) {
            ek_band_row(p, input, next, band + next % kept * row_bytes);
        }
        ek_tap_offsets(p, first, kept, offsets);
        for (int32_t channel = 0; channel < channels; channel += 16) {
            const ek_lane_block block = ek_lane_block_of(p, taps, channel);
            ek_lane_row(p, &block, band + channel, offsets, taps, output + channel, round);
        }
        output += w->out_width * channels;
    }
}

#endif

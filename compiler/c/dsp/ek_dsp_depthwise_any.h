/* Depthwise convolutions with windows of any size, channel by channel on a padded plane.
 *
 * On the plane lie the columns that are a dilation apart side by side: `dilation_width` phases of
 * phase_width columns in each row, so that the taps of a window are neighbours.
 */
#ifndef EK_DSP_DEPTHWISE_ANY_H
#define EK_DSP_DEPTHWISE_ANY_H

#include "ek_finish.h"
#include "ek_patch.h"
#include "ek_plane.h"
#include "ek_rows_dot.h"

/* Taps of a row that are multiplied in one go; up to EK_LAST are left to the end. */
#define EK_BLOCK 8
#define EK_LAST 9

/* What of the input lies on the plane; its padding stays as it was cleared. */
EK_INLINE void ek_phases_copy(const ek_dsp_depthwise_any_params *p, const int8_t *from,
                              int8_t *plane) {
    const ek_window *w = &p->window;
    const int32_t phases = w->dilation_width, pitch = phases * p->phase_width;
    const int32_t bottom = p->plane_height - w->pad_top, right = pitch - w->pad_left;
    const int32_t height = w->in_height < bottom ? w->in_height : bottom;
    const int32_t width = w->in_width < right ? w->in_width : right;
    plane += w->pad_top * pitch;
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < phases && x < width; x++) {
            const int32_t at = x + w->pad_left;
            int8_t *const to = plane + at % phases * p->phase_width + at / phases;
            const int32_t count = (width - x + phases - 1) / phases;
            ek_plane_row(from + x * p->in_column, phases * p->in_column, count, to);
        }
        from += p->in_row;
        plane += pitch;
    }
}

/* The words of a channel: blocks of columns, each with all rows. */
EK_INLINE void ek_unpack(const ek_dsp_depthwise_any_params *p, const int8_t *weights,
                         uint32_t *words) {
    const int32_t width = p->window.kernel_width;
    for (int32_t taps, left = width; left > 0; left -= taps, weights += taps) {
        taps = left > EK_LAST ? EK_BLOCK : left;
        for (int32_t row = 0; row < p->window.kernel_height; row++) {
            words = ek_unpack_row(weights + row * width, taps, words);
        }
    }
}

/* One channel's window: `blocks` whole ones, then the last. Sums begin with twice the bias, words
 * hold doubled weights. */
typedef struct {
    int32_t start, blocks, block_words;
    ek_rows last;
} ek_kernel;

EK_INLINE ek_kernel ek_kernel_of(const ek_dsp_depthwise_any_params *p, const uint32_t *words) {
    const ek_window *w = &p->window;
    const int32_t width = w->kernel_width;
    ek_kernel k;
    k.start = 0;
    k.blocks = width > EK_LAST ? (width - EK_LAST + EK_BLOCK - 1) / EK_BLOCK : 0;
    k.block_words = w->kernel_height * ek_row_words(EK_BLOCK);
    k.last.taps = width - k.blocks * EK_BLOCK;
    k.last.next = w->dilation_height * w->dilation_width * p->phase_width;
    k.last.words = words + k.blocks * k.block_words;
    k.last.end = k.last.words + w->kernel_height * ek_row_words(k.last.taps);
    return k;
}

/* The rows of block `index`. */
EK_INLINE ek_rows ek_block(const ek_kernel *k, int32_t index) {
    ek_rows rows = k->last;
    rows.taps = EK_BLOCK;
    rows.words -= (k->blocks - index) * k->block_words;
    rows.end = rows.words + k->block_words;
    return rows;
}

EK_INLINE void ek_window_of_four(const ek_kernel *k, const int8_t *at, int32_t sums[4]) {
    sums[0] = sums[1] = sums[2] = sums[3] = k->start;
    for (int32_t index = 0; index < k->blocks; index++) {
        const ek_rows rows = ek_block(k, index);
        ek_rows_of_four(&rows, at, sums);
        at += EK_BLOCK;
    }
    ek_rows_of_four(&k->last, at, sums);
}

EK_INLINE void ek_window_of_two(const ek_kernel *k, const int8_t *at, int32_t distance,
                                int32_t sums[2]) {
    sums[0] = sums[1] = k->start;
    for (int32_t index = 0; index < k->blocks; index++) {
        const ek_rows rows = ek_block(k, index);
        ek_rows_of_two(&rows, at, distance, sums);
        at += EK_BLOCK;
    }
    ek_rows_of_two(&k->last, at, distance, sums);
}

/* `count` outputs, `step` bytes apart, of windows `stride` bytes apart. */
EK_INLINE void ek_any_row(const ek_kernel *k, const ek_factor *factor, const int8_t *at,
                          int32_t stride, int32_t count, int8_t *output, int32_t step,
                          ek_finisher finish) {
    int32_t sums[4];
    for (; stride == 1 && count >= 3; count -= 4) {
        ek_window_of_four(k, at, sums);
        output[0] = finish(sums[0], factor);
        output[step] = finish(sums[1], factor);
        output[2 * step] = finish(sums[2], factor);
        if (count == 3) {
            return;
        }
        output[3 * step] = finish(sums[3], factor);
        output += 4 * step;
        at += 4;
    }
    for (; count > 0; count -= 2) {
        ek_window_of_two(k, at, count == 1 ? 0 : stride, sums);
        *output = finish(sums[0], factor);
        if (count == 1) {
            return;
        }
        output[step] = finish(sums[1], factor);
        output += 2 * step;
        at += 2 * stride;
    }
}

EK_INLINE void ek_any_rows(const ek_dsp_depthwise_any_params *p, const ek_kernel *k,
                           ek_factor factor, const int8_t *plane, int8_t *output,
                           ek_finisher finish) {
    const ek_window *w = &p->window;
    const int32_t phases = w->dilation_width, width = w->out_width, stride = w->stride_width;
    const int32_t next_row = w->stride_height * phases * p->phase_width;
    for (int32_t y = 0; y < w->out_height; y++) {
        for (int32_t phase = 0; phase < phases && phase < width; phase++) {
            const int32_t count = (width - phase + phases - 1) / phases;
            ek_any_row(k, &factor, plane + phase * p->phase_width, stride, count,
                       output + phase * p->out_column, phases * p->out_column, finish);
        }
        plane += next_row;
        output += p->out_row;
    }
}

/* scratch: the words of a channel, then the plane and four bytes more. Weights are
 * [channels][kernel_height][kernel_width] and up to two bytes more. */
EK_INLINE void ek_dsp_depthwise_any(const ek_dsp_depthwise_any_params *p, const int8_t *input,
                                    int8_t *output, void *scratch, ek_finisher finish) {
    const ek_window *w = &p->window;
    uint32_t *const words = scratch;
    int8_t *const plane = (int8_t *)(words + p->words);
    const int32_t pitch = w->dilation_width * p->phase_width;
    const int32_t taps = w->kernel_height * w->kernel_width;
    ek_kernel kernel = ek_kernel_of(p, words);
    ek_fill_bytes((int8_t)p->input_zero_point, p->plane_height * pitch, plane);
    for (int32_t channel = 0; channel < p->channels; channel++) {
        if (channel % p->multiplier == 0) {
            ek_phases_copy(p, input + channel / p->multiplier, plane);
        }
        ek_unpack(p, p->weights + channel * taps, words);
        kernel.start = 2 * p->output.bias[channel];
        ek_any_rows(p, &kernel, ek_factor_of(&p->output, channel), plane, output + channel,
                    finish);
    }
}

#endif

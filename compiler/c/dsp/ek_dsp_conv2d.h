/* Convolutions of any window: four patches are gathered as columns, then multiplied. */
#ifndef EK_DSP_CONV2D_H
#define EK_DSP_CONV2D_H

#include "ek_matrix.h"
#include "ek_patch.h"

EK_INLINE uint32_t *ek_fill(uint32_t word, int32_t count, uint32_t *column, int32_t stride) {
    for (int32_t i = 0; i < count; i++) {
        *column = word;
        column += stride;
    }
    return column;
}

/* The window at a place as a column whose words are `stride` apart. in_channels is a multiple of
 * 4, so that pixels are whole words; columns outside the input hold its zero point. */
EK_INLINE void ek_gather_words(const ek_dsp_conv2d_params *p, const int8_t *input, const ek_place *at,
                               uint32_t *column, int32_t stride) {
    const ek_window *w = &p->window;
    const int32_t words = p->in_channels / 2;
    const uint32_t half = (uint32_t)p->input_zero_point & 0xFFFFu;
    const uint32_t zero = half << 16 | half;
    const int32_t taps = at->columns.end - at->columns.first;
    const int32_t step = w->dilation_width == 1 ? taps : 1;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < at->rows.first || ky >= at->rows.end) {
            column = ek_fill(zero, w->kernel_width * words, column, stride);
            continue;
        }
        column = ek_fill(zero, at->columns.first * words, column, stride);
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx += step) {
            const int8_t *const pixel = input + ek_pixel(w, at, ky, kx) * p->in_channels;
            column = ek_expand(pixel, step * p->in_channels, column, stride);
        }
        column = ek_fill(zero, (w->kernel_width - at->columns.end) * words, column, stride);
    }
}

/* The window at a place, whatever of it lies outside. With other numbers of channels by way of
 * `bytes`: a patch of 2 * pairs bytes, those after the window's last tap meet weights of 0. */
static void ek_gather_any(const ek_dsp_conv2d_params *p, const int8_t *input, int32_t y, int32_t x,
                          uint32_t *column, int32_t stride, int8_t *bytes) {
    const ek_place at = ek_place_at(&p->window, y, x);
    if (p->in_channels % 4 == 0) {
        ek_gather_words(p, input, &at, column, stride);
    } else {
        ek_patch(&p->window, p->in_channels, (int8_t)p->input_zero_point, input, &at, bytes);
        ek_expand(bytes, 2 * p->pairs, column, stride);
    }
}

/* Where windows lie inside the input, with rows whose taps are neighbours: the first taps' last
 * row and column, -1 where there are none. */
typedef struct {
    int32_t last_row, last_column;
    int32_t row_bytes, next_row;
} ek_inside_rows;

EK_INLINE ek_inside_rows ek_inside_rows_of(const ek_dsp_conv2d_params *p) {
    const ek_window *w = &p->window;
    ek_inside_rows r;
    r.last_row = w->in_height - 1 - (w->kernel_height - 1) * w->dilation_height;
    r.last_column = w->dilation_width == 1 ? w->in_width - w->kernel_width : -1;
    r.row_bytes = w->kernel_width * p->in_channels;
    r.next_row = w->dilation_height * w->in_width * p->in_channels;
    return r;
}

/* A window all of whose taps are inside. */
EK_INLINE void ek_gather_rows(const ek_dsp_conv2d_params *p, const ek_inside_rows *r,
                              const int8_t *from, uint32_t *column, int32_t stride,
                              int8_t *bytes) {
    int8_t *to = bytes;
    const int aligned = p->in_channels % 4 == 0;
    for (int32_t ky = p->window.kernel_height; ky > 0; ky--) {
        if (aligned) {
            column = ek_expand(from, r->row_bytes, column, stride);
        } else {
            to = ek_copy_row(from, r->row_bytes, to);
        }
        from += r->next_row;
    }
    if (!aligned) {
        ek_expand(bytes, 2 * p->pairs, column, stride);
    }
}

/* Outputs from left to right, from top to bottom. */
typedef struct {
    int32_t y, x;
} ek_cursor;

EK_INLINE void ek_gather(const ek_dsp_conv2d_params *p, const ek_inside_rows *r,
                         const int8_t *input, ek_cursor *at, uint32_t *column, int32_t stride,
                         int8_t *bytes) {
    const ek_window *w = &p->window;
    const int32_t row = at->y * w->stride_height - w->pad_top;
    const int32_t first = at->x * w->stride_width - w->pad_left;
    if (row >= 0 && first >= 0 && row <= r->last_row && first <= r->last_column) {
        const int8_t *const from = input + (row * w->in_width + first) * p->in_channels;
        ek_gather_rows(p, r, from, column, stride, bytes);
    } else {
        ek_gather_any(p, input, at->y, at->x, column, stride, bytes);
    }
    at->x++;
    if (at->x == w->out_width) {
        at->x = 0;
        at->y++;
    }
}

/* scratch: 4 columns, 4 * pairs bytes each, then 2 * pairs bytes where in_channels is no multiple
 * of 4. */
EK_INLINE void ek_dsp_conv2d(const ek_dsp_conv2d_params *p, const int8_t *input, int8_t *output,
                             void *scratch, ek_finisher finish) {
    uint32_t *const columns = scratch;
    int8_t *const bytes = (int8_t *)(columns + 4 * p->pairs);
    const ek_inside_rows rows = ek_inside_rows_of(p);
    ek_cursor at = {0, 0};
    int32_t left = p->window.out_height * p->window.out_width;
    for (; left >= 4; left -= 4) {
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            ek_gather(p, &rows, input, &at, columns + pixel, 4, bytes);
        }
        ek_matrix_4(p, columns, output, finish);
        output += 4 * p->out_channels;
    }
    for (; left > 0; left--) {
        ek_gather(p, &rows, input, &at, columns, 1, bytes);
        ek_matrix_1(p, columns, output, finish);
        output += p->out_channels;
    }
}

#endif

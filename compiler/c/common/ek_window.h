/* Which taps of a sliding window lie inside the input. */
#ifndef EK_WINDOW_H
#define EK_WINDOW_H

#include <stdint.h>

#include "ek_kernels.h"

typedef struct {
    int32_t first, end;
} ek_range;

/* A window at one place: `row` and `column` of its first tap may lie outside the input. */
typedef struct {
    int32_t row, column;
    ek_range rows, columns;
} ek_place;

/* Taps k of 0..kernel-1 with 0 <= start + k * dilation < size. */
static inline ek_range ek_inside(int32_t start, int32_t size, int32_t kernel, int32_t dilation) {
    ek_range taps = {0, 0};
    if (start < 0) {
        taps.first = (-start + dilation - 1) / dilation;
    }
    if (start < size) {
        taps.end = (size - start + dilation - 1) / dilation;
        taps.end = taps.end < kernel ? taps.end : kernel;
    }
    return taps;
}

static inline ek_place ek_place_at(const ek_window *w, int32_t out_row, int32_t out_column) {
    ek_place place;
    place.row = out_row * w->stride_height - w->pad_top;
    place.column = out_column * w->stride_width - w->pad_left;
    place.rows = ek_inside(place.row, w->in_height, w->kernel_height, w->dilation_height);
    place.columns = ek_inside(place.column, w->in_width, w->kernel_width, w->dilation_width);
    if (place.columns.first >= place.columns.end) {
        place.rows.end = 0; /* no tap is inside, so no row has any */
    }
    return place;
}

/* Index of a tap's pixel; times the channels it is an offset into the input. */
static inline int32_t ek_pixel(const ek_window *w, const ek_place *at, int32_t ky, int32_t kx) {
    const int32_t y = at->row + ky * w->dilation_height;
    const int32_t x = at->column + kx * w->dilation_width;
    return y * w->in_width + x;
}

#endif

#include "ek_kernels.h"

/* Largest value of one channel in the window at (row, column); the padding takes no part. */
static int8_t largest(const ek_pool2d_params *p, const int8_t *input, int32_t row,
                      int32_t column) {
    const ek_window *w = &p->window;
    int8_t best = INT8_MIN;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t y = row + ky;
            const int32_t x = column + kx;
            if (y >= 0 && y < w->in_height && x >= 0 && x < w->in_width) {
                const int8_t value = input[(y * w->in_width + x) * p->channels];
                best = value > best ? value : best;
            }
        }
    }
    return best;
}

void ek_max_pool2d(const ek_pool2d_params *p, const int8_t *input, int8_t *output) {
    const ek_window *w = &p->window;
    for (int32_t oy = 0; oy < w->out_height; oy++) {
        const int32_t row = oy * w->stride_height - w->pad_top;
        for (int32_t ox = 0; ox < w->out_width; ox++) {
            const int32_t column = ox * w->stride_width - w->pad_left;
            for (int32_t c = 0; c < p->channels; c++) {
                *output++ = largest(p, input + c, row, column);
            }
        }
    }
}

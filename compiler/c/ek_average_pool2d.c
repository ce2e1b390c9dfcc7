#include "ek_kernels.h"

/* Mean of one channel in the window at (row, column), ties away from zero. The padding takes no
 * part, and every window meets the input. */
static int8_t average(const ek_pool2d_params *p, const int8_t *input, int32_t row,
                      int32_t column) {
    const ek_window *w = &p->window;
    int32_t sum = 0;
    int32_t count = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t y = row + ky;
            const int32_t x = column + kx;
            if (y >= 0 && y < w->in_height && x >= 0 && x < w->in_width) {
                sum += input[(y * w->in_width + x) * p->channels];
                count++;
            }
        }
    }
    return (int8_t)((sum > 0 ? sum + count / 2 : sum - count / 2) / count);
}

void ek_average_pool2d(const ek_pool2d_params *p, const int8_t *input, int8_t *output) {
    const ek_window *w = &p->window;
    for (int32_t oy = 0; oy < w->out_height; oy++) {
        const int32_t row = oy * w->stride_height - w->pad_top;
        for (int32_t ox = 0; ox < w->out_width; ox++) {
            const int32_t column = ox * w->stride_width - w->pad_left;
            for (int32_t c = 0; c < p->channels; c++) {
                *output++ = average(p, input + c, row, column);
            }
        }
    }
}

#include "ek_rows_16.h"

/* The input line that reaches an output line through a line of the kernel, or -1. */
static int32_t source(int32_t line, int32_t stride, int32_t count) {
    return line >= 0 && line % stride == 0 && line / stride < count ? line / stride : -1;
}

static int64_t window_sum(const ek_transpose_conv2d_16_params *p, const int16_t *input, int32_t y,
                          int32_t x, const int8_t *weights) {
    const ek_window *const w = &p->window;
    int64_t sum = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = source(y + w->pad_top - ky, w->stride_height, w->in_height);
        for (int32_t kx = 0; row >= 0 && kx < w->kernel_width; kx++) {
            const int32_t column = source(x + w->pad_left - kx, w->stride_width, w->in_width);
            if (column >= 0) {
                sum += ek_sum_1x1_16(input + (row * w->in_width + column) * p->in_channels,
                                     weights + (ky * w->kernel_width + kx) * p->in_channels,
                                     p->in_channels);
            }
        }
    }
    return sum;
}

void ek_transpose_conv2d_16(const ek_transpose_conv2d_16_params *p, const int16_t *input,
                            int16_t *output) {
    const ek_window *const w = &p->window;
    const int32_t taps = w->kernel_height * w->kernel_width * p->in_channels;
    for (int32_t y = 0; y < w->out_height; y++) {
        for (int32_t x = 0; x < w->out_width; x++) {
            for (int32_t c = 0; c < p->channels; c++) {
                const int64_t sum = window_sum(p, input, y, x, p->weights + c * taps);
                *output++ = ek_finish_16(&p->output, c, sum);
            }
        }
    }
}

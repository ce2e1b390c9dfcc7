#include "ek_kernels.h"
#include "ek_requantize.h"

/* Sum over the window at (row, column), which may begin outside the input. */
static int32_t accumulate(const ek_conv2d_params *p, const int8_t *input, const int8_t *weights,
                          int32_t row, int32_t column) {
    const ek_window *w = &p->window;
    int32_t sum = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t y = row + ky * w->dilation_height;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t x = column + kx * w->dilation_width;
            if (y >= 0 && y < w->in_height && x >= 0 && x < w->in_width) {
                const int8_t *pixel = input + (y * w->in_width + x) * p->in_channels;
                for (int32_t c = 0; c < p->in_channels; c++) {
                    sum += weights[c] * (pixel[c] - p->input_zero_point);
                }
            }
            weights += p->in_channels;
        }
    }
    return sum;
}

void ek_conv2d(const ek_conv2d_params *p, const int8_t *input, int8_t *output) {
    const ek_window *w = &p->window;
    const ek_output *o = &p->output;
    const int32_t filter_size = w->kernel_height * w->kernel_width * p->in_channels;
    for (int32_t oy = 0; oy < w->out_height; oy++) {
        const int32_t row = oy * w->stride_height - w->pad_top;
        for (int32_t ox = 0; ox < w->out_width; ox++) {
            const int32_t column = ox * w->stride_width - w->pad_left;
            for (int32_t c = 0; c < p->out_channels; c++) {
                const int8_t *filter = p->weights + c * filter_size;
                const int32_t sum = p->bias[c] + accumulate(p, input, filter, row, column);
                const int32_t scaled = ek_scale(sum, o->multiplier[c], o->shift[c]);
                *output++ = (int8_t)ek_clamp(scaled + o->zero_point, o->minimum, o->maximum);
            }
        }
    }
}

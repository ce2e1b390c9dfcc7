#include "ek_kernels.h"
#include "ek_requantize.h"
#include "ek_window.h"

static int32_t dot(const int8_t *input, const int8_t *weights, int32_t count, int32_t zero_point) {
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += weights[i] * (input[i] - zero_point);
    }
    return sum;
}

/* One filter over the window at a place. Undilated taps of a row are neighbours in the input as
 * they are in the filter, so they are one run; dilated ones are a run each. */
static int32_t accumulate(const ek_conv2d_params *p, const int8_t *input, const int8_t *filter,
                          const ek_place *at) {
    const ek_window *w = &p->window;
    const int32_t taps = at->columns.end - at->columns.first;
    const int32_t step = w->dilation_width == 1 ? taps : 1;
    int32_t sum = 0;
    for (int32_t ky = at->rows.first; ky < at->rows.end; ky++) {
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx += step) {
            const int8_t *pixel = input + ek_pixel(w, at, ky, kx) * p->in_channels;
            const int8_t *weights = filter + (ky * w->kernel_width + kx) * p->in_channels;
            sum += dot(pixel, weights, step * p->in_channels, p->input_zero_point);
        }
    }
    return sum;
}

void ek_conv2d(const ek_conv2d_params *p, const int8_t *input, int8_t *output) {
    const ek_window *w = &p->window;
    const ek_output *o = &p->output;
    const int32_t filter_size = w->kernel_height * w->kernel_width * p->in_channels;
    for (int32_t oy = 0; oy < w->out_height; oy++) {
        for (int32_t ox = 0; ox < w->out_width; ox++) {
            const ek_place at = ek_place_at(w, oy, ox);
            for (int32_t c = 0; c < p->out_channels; c++) {
                const int8_t *filter = p->weights + c * filter_size;
                const int32_t sum = p->bias[c] + accumulate(p, input, filter, &at);
                const int32_t scaled = ek_scale(sum, o->multiplier[c], o->shift[c]);
                *output++ = (int8_t)ek_clamp(scaled + o->zero_point, o->minimum, o->maximum);
            }
        }
    }
}

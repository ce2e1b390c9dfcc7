#include "ek_kernels.h"
#include "ek_requantize.h"
#include "ek_window.h"

/* Channel `c` over the window at a place. */
static int32_t accumulate(const ek_depthwise_conv2d_params *p, const int8_t *input,
                          const ek_place *at, int32_t c) {
    const ek_window *w = &p->window;
    const int32_t step = w->dilation_width * p->channels;
    int32_t sum = 0;
    for (int32_t ky = at->rows.first; ky < at->rows.end; ky++) {
        const int32_t first = at->columns.first;
        const int8_t *value = input + ek_pixel(w, at, ky, first) * p->channels + c;
        const int8_t *weight = p->weights + (ky * w->kernel_width + first) * p->channels + c;
        for (int32_t kx = first; kx < at->columns.end; kx++) {
            sum += *weight * (*value - p->input_zero_point);
            value += step;
            weight += p->channels;
        }
    }
    return sum;
}

void ek_depthwise_conv2d(const ek_depthwise_conv2d_params *p, const int8_t *input,
                         int8_t *output) {
    const ek_window *w = &p->window;
    const ek_output *o = &p->output;
    for (int32_t oy = 0; oy < w->out_height; oy++) {
        for (int32_t ox = 0; ox < w->out_width; ox++) {
            const ek_place at = ek_place_at(w, oy, ox);
            for (int32_t c = 0; c < p->channels; c++) {
                const int32_t sum = p->bias[c] + accumulate(p, input, &at, c);
                const int32_t scaled = ek_scale(sum, o->multiplier[c], o->shift[c]);
                *output++ = (int8_t)ek_clamp(scaled + o->zero_point, o->minimum, o->maximum);
            }
        }
    }
}

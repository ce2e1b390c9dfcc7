#include "ek_plane.h"
#include "ek_portable.h"
#include "ek_requantize.h"

/* Sum of one window whose first tap is `at`. */
static int32_t window_sum(const ek_depthwise_conv2d_params *p, const int8_t *weights,
                          const int8_t *at, int32_t sum) {
    const ek_window *w = &p->window;
    const int32_t next_row = w->dilation_height * p->plane_width;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int8_t *tap = at;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            sum += *tap * *weights++;
            tap += w->dilation_width;
        }
        at += next_row;
    }
    return sum;
}

/* Windows of 3 by 3 next to each other are most of all there are. */
static int32_t window_sum_3x3(const int8_t *weights, const int8_t *row, int32_t width,
                              int32_t sum) {
    const int8_t *const second = row + width;
    const int8_t *const third = second + width;
    sum += row[0] * weights[0] + row[1] * weights[1] + row[2] * weights[2];
    sum += second[0] * weights[3] + second[1] * weights[4] + second[2] * weights[5];
    return sum + third[0] * weights[6] + third[1] * weights[7] + third[2] * weights[8];
}

static void channel_outputs(const ek_depthwise_conv2d_params *p, const int8_t *plane,
                            int32_t channel, int8_t *output) {
    const ek_window *w = &p->window;
    const ek_output *o = &p->output;
    const int8_t *const weights = p->weights + channel * w->kernel_height * w->kernel_width;
    const int plain = w->kernel_height == 3 && w->kernel_width == 3 && w->dilation_height == 1 &&
                      w->dilation_width == 1;
    const int32_t bias = o->bias[channel];
    for (int32_t y = 0; y < w->out_height; y++) {
        const int8_t *at = plane + y * w->stride_height * p->plane_width;
        for (int32_t x = 0; x < w->out_width; x++) {
            const int32_t sum = plain ? window_sum_3x3(weights, at, p->plane_width, bias)
                                      : window_sum(p, weights, at, bias);
            const int32_t scaled = ek_scale(sum, o->multiplier[channel], o->shift[channel]);
            *output = (int8_t)ek_clamp(scaled + o->zero_point, o->minimum, o->maximum);
            output += p->channels;
            at += w->stride_width;
        }
    }
}

/* scratch: the plane, plane_height * plane_width bytes. */
void ek_depthwise_conv2d(const ek_depthwise_conv2d_params *p, const int8_t *input, int8_t *output,
                         void *scratch) {
    int8_t *const plane = scratch;
    ek_plane_clear(p, plane);
    for (int32_t channel = 0; channel < p->channels; channel++) {
        if (channel % p->multiplier == 0) {
            ek_plane_copy(p, input, channel / p->multiplier, plane);
        }
        channel_outputs(p, plane, channel, output + channel);
    }
}

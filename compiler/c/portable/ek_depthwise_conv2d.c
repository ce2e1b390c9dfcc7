#include "ek_channel.h"
#include "ek_plane.h"
#include "ek_portable.h"

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

/* Windows of any size. */
static void any_outputs(const ek_depthwise_conv2d_params *p, const int8_t *plane,
                        const int8_t *weights, const ek_channel *c, int8_t *output) {
    const ek_window *w = &p->window;
    for (int32_t y = 0; y < w->out_height; y++) {
        const int8_t *at = plane + y * w->stride_height * p->plane_width;
        for (int32_t x = 0; x < w->out_width; x++) {
            *output = ek_finish(c, window_sum(p, weights, at, c->bias));
            output += p->channels;
            at += w->stride_width;
        }
    }
}

/* Windows of 3 by 3 next to each other, which are most of all there are. */
static void outputs_3x3(const ek_depthwise_conv2d_params *p, const int8_t *plane,
                        const int8_t *weights, ek_channel c, int8_t *output) {
    const int32_t w0 = weights[0], w1 = weights[1], w2 = weights[2];
    const int32_t w3 = weights[3], w4 = weights[4], w5 = weights[5];
    const int32_t w6 = weights[6], w7 = weights[7], w8 = weights[8];
    const int32_t width = p->plane_width, channels = p->channels;
    const int32_t stride = p->window.stride_width, out_width = p->window.out_width;
    const int32_t next_row = p->window.stride_height * width;
    for (int32_t y = p->window.out_height; y > 0; y--) {
        const int8_t *a = plane;
        for (const int8_t *const end = a + out_width * stride; a != end; a += stride) {
            const int8_t *const b = a + width;
            int32_t sum = c.bias + a[0] * w0 + a[1] * w1 + a[2] * w2;
            sum += b[0] * w3 + b[1] * w4 + b[2] * w5;
            sum += b[width] * w6 + b[width + 1] * w7 + b[width + 2] * w8;
            *output = ek_finish(&c, sum);
            output += channels;
        }
        plane += next_row;
    }
}

/* scratch: the plane, plane_height * plane_width bytes. */
void ek_depthwise_conv2d(const ek_depthwise_conv2d_params *p, const int8_t *input, int8_t *output,
                         void *scratch) {
    int8_t *const plane = scratch;
    const ek_window *w = &p->window;
    const int32_t taps = w->kernel_height * w->kernel_width;
    const int plain = w->kernel_height == 3 && w->kernel_width == 3 && w->dilation_height == 1 &&
                      w->dilation_width == 1;
    ek_plane_clear(p, plane);
    for (int32_t channel = 0; channel < p->channels; channel++) {
        if (channel % p->multiplier == 0) {
            ek_plane_copy(p, input, channel / p->multiplier, plane);
        }
        const int8_t *const weights = p->weights + channel * taps;
        const ek_channel c = ek_channel_of(&p->output, channel);
        if (plain) {
            outputs_3x3(p, plane, weights, c, output + channel);
        } else {
            any_outputs(p, plane, weights, &c, output + channel);
        }
    }
}

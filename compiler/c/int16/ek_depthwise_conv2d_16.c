#include "ek_finish_16.h"
#include "ek_plane_16.h"

/* Sum of one window whose first tap is `at`: a row of it fits 32 bits. */
static int64_t window_sum(const ek_depthwise_conv2d_16_params *p, const int8_t *weights,
                          const int16_t *at) {
    const ek_window *w = &p->planes.window;
    int64_t sum = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        int32_t row = 0;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            row += at[kx * w->dilation_width] * weights[kx];
        }
        sum += row;
        weights += w->kernel_width;
        at += w->dilation_height * p->planes.width;
    }
    return sum;
}

/* A window of 3 by 3 next to each other. */
static int32_t sum_3x3(const int16_t *a, int32_t width, const int8_t *w) {
    const int16_t *const b = a + width, *const c = b + width;
    return a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + b[0] * w[3] + b[1] * w[4] + b[2] * w[5] +
           c[0] * w[6] + c[1] * w[7] + c[2] * w[8];
}

static void outputs(const ek_depthwise_conv2d_16_params *p, const int16_t *plane,
                    const int8_t *weights, int32_t channel, int16_t *output) {
    const ek_window *w = &p->planes.window;
    const int plain = w->kernel_height == 3 && w->kernel_width == 3 && w->dilation_height == 1 &&
                      w->dilation_width == 1;
    for (int32_t y = 0; y < w->out_height; y++) {
        const int16_t *at = plane + y * w->stride_height * p->planes.width;
        for (int32_t x = 0; x < w->out_width; x++) {
            const int64_t sum =
                plain ? sum_3x3(at, p->planes.width, weights) : window_sum(p, weights, at);
            *output = ek_finish_16(&p->output, channel, sum);
            output += p->planes.channels;
            at += w->stride_width;
        }
    }
}

/* scratch: a plane. */
void ek_depthwise_conv2d_16(const ek_depthwise_conv2d_16_params *p, const int16_t *input,
                            int16_t *output, void *scratch) {
    const int32_t taps = p->planes.window.kernel_height * p->planes.window.kernel_width;
    ek_plane_clear_16(&p->planes, scratch);
    for (int32_t channel = 0; channel < p->planes.channels; channel++) {
        if (channel % p->planes.multiplier == 0) {
            ek_plane_copy_16(&p->planes, input, channel / p->planes.multiplier, scratch);
        }
        outputs(p, scratch, p->weights + channel * taps, channel, output + channel);
    }
}

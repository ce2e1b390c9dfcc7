#include "ek_finish_16.h"

/* All of the plane, before the first channel is copied. */
static void clear(const ek_depthwise_conv2d_16_params *p, int16_t *plane) {
    for (int32_t i = 0; i < p->plane_height * p->plane_width; i++) {
        plane[i] = 0;
    }
}

/* What of channel `channel` of the input lies on the plane; the rest no window reaches. */
static void copy(const ek_depthwise_conv2d_16_params *p, const int16_t *input, int32_t channel,
                 int16_t *plane) {
    const ek_window *w = &p->window;
    const int32_t channels = p->channels / p->multiplier;
    const int32_t bottom = p->plane_height - w->pad_top, right = p->plane_width - w->pad_left;
    const int32_t height = w->in_height < bottom ? w->in_height : bottom;
    const int32_t width = w->in_width < right ? w->in_width : right;
    for (int32_t y = 0; y < height; y++) {
        const int16_t *const from = input + y * w->in_width * channels + channel;
        int16_t *const to = plane + (w->pad_top + y) * p->plane_width + w->pad_left;
        for (int32_t x = 0; x < width; x++) {
            to[x] = from[x * channels];
        }
    }
}

/* Sum of one window whose first tap is `at`: a row of it fits 32 bits. */
static int64_t window_sum(const ek_depthwise_conv2d_16_params *p, const int8_t *weights,
                          const int16_t *at) {
    const ek_window *w = &p->window;
    int64_t sum = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        int32_t row = 0;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            row += at[kx * w->dilation_width] * weights[kx];
        }
        sum += row;
        weights += w->kernel_width;
        at += w->dilation_height * p->plane_width;
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
    const ek_window *w = &p->window;
    const int plain = w->kernel_height == 3 && w->kernel_width == 3 && w->dilation_height == 1 &&
                      w->dilation_width == 1;
    for (int32_t y = 0; y < w->out_height; y++) {
        const int16_t *at = plane + y * w->stride_height * p->plane_width;
        for (int32_t x = 0; x < w->out_width; x++) {
            const int64_t sum =
                plain ? sum_3x3(at, p->plane_width, weights) : window_sum(p, weights, at);
            *output = ek_finish_16(&p->output, channel, sum);
            output += p->channels;
            at += w->stride_width;
        }
    }
}

/* scratch: the plane, plane_height * plane_width numbers. */
void ek_depthwise_conv2d_16(const ek_depthwise_conv2d_16_params *p, const int16_t *input,
                            int16_t *output, void *scratch) {
    const int32_t taps = p->window.kernel_height * p->window.kernel_width;
    clear(p, scratch);
    for (int32_t channel = 0; channel < p->channels; channel++) {
        if (channel % p->multiplier == 0) {
            copy(p, input, channel / p->multiplier, scratch);
        }
        outputs(p, scratch, p->weights + channel * taps, channel, output + channel);
    }
}

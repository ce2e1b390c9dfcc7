/* One channel of an image with its padding, side by side in memory. */
#ifndef EK_PLANE_H
#define EK_PLANE_H

#include "ek_compiler.h"
#include "ek_kernels.h"

/* The padding of every channel's plane: all of it, before the first channel is copied. */
EK_INLINE void ek_plane_clear(const ek_depthwise_conv2d_params *p, int8_t *plane) {
    for (int32_t i = 0; i < p->plane_height * p->plane_width; i++) {
        plane[i] = (int8_t)p->input_zero_point;
    }
}

/* Every `step`-th byte. */
EK_INLINE void ek_plane_row(const int8_t *from, int32_t step, int32_t count, int8_t *to) {
    const int8_t *const unrolled_end = to + (count & ~3);
    const int8_t *const end = to + count;
    while (to != unrolled_end) {
        to[0] = from[0];
        to[1] = from[step];
        to[2] = from[2 * step];
        to[3] = from[3 * step];
        from += 4 * step;
        to += 4;
    }
    while (to != end) {
        *to++ = *from;
        from += step;
    }
}

/* What of channel `channel` of the input lies on the plane; the rest no window reaches. */
EK_INLINE void ek_plane_copy(const ek_depthwise_conv2d_params *p, const int8_t *input,
                             int32_t channel, int8_t *plane) {
    const ek_window *w = &p->window;
    const int32_t channels = p->channels / p->multiplier;
    const int32_t bottom = p->plane_height - w->pad_top, right = p->plane_width - w->pad_left;
    const int32_t height = w->in_height < bottom ? w->in_height : bottom;
    const int32_t width = w->in_width < right ? w->in_width : right;
    const int8_t *from = input + channel;
    int8_t *to = plane + w->pad_top * p->plane_width + w->pad_left;
    for (int32_t y = 0; y < height; y++) {
        ek_plane_row(from, channels, width, to);
        from += w->in_width * channels;
        to += p->plane_width;
    }
}

#endif

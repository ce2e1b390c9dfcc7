/* One channel of an image with its padding, side by side in memory. */
#ifndef EK_PLANE_16_H
#define EK_PLANE_16_H

#include "ek_compiler.h"
#include "ek_int16_kernels.h"

/* The padding of every channel's plane: all of it, before the first channel is copied. */
EK_INLINE void ek_plane_clear_16(const ek_planes_16 *p, int16_t *plane) {
    for (int32_t i = 0; i < p->height * p->width; i++) {
        plane[i] = 0;
    }
}

/* What of channel `channel` of the input lies on the plane; the rest no window reaches. */
EK_INLINE void ek_plane_copy_16(const ek_planes_16 *p, const int16_t *input, int32_t channel,
                                int16_t *plane) {
    const ek_window *w = &p->window;
    const int32_t channels = p->channels / p->multiplier;
    const int32_t bottom = p->height - w->pad_top, right = p->width - w->pad_left;
    const int32_t height = w->in_height < bottom ? w->in_height : bottom;
    const int32_t width = w->in_width < right ? w->in_width : right;
    for (int32_t y = 0; y < height; y++) {
        const int16_t *from = input + y * w->in_width * channels + channel;
        int16_t *to = plane + (w->pad_top + y) * p->width + w->pad_left;
        for (const int16_t *const end = to + width; to != end; to++) {
            *to = *from;
            from += channels;
        }
    }
}

#endif

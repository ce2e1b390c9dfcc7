#include "ek_patch.h"
#include "ek_rows.h"

/* The patch of one group: the pixels of its own channels. */
static void gather(const ek_grouped_conv2d_params *p, const int8_t *input, const ek_place *at,
                   int8_t *patch) {
    const ek_window *w = &p->group.window;
    const int32_t depth = p->group.in_channels;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            if (ky >= at->rows.first && ky < at->rows.end && kx >= at->columns.first &&
                kx < at->columns.end) {
                const int8_t *const pixel = input + ek_pixel(w, at, ky, kx) * depth * p->groups;
                patch = ek_copy_bytes(pixel, depth, patch);
            } else {
                patch = ek_fill_bytes((int8_t)p->group.input_zero_point, depth, patch);
            }
        }
    }
}

/* scratch: a patch of `taps` bytes. */
void ek_grouped_conv2d(const ek_grouped_conv2d_params *p, const int8_t *input, int8_t *output,
                       void *scratch) {
    const ek_window *w = &p->group.window;
    for (int32_t group = 0; group < p->groups; group++) {
        ek_conv2d_params one = p->group;
        one.weights += group * one.taps * one.out_channels;
        one.output.bias += group * one.out_channels;
        one.output.multiplier += group * one.out_channels;
        one.output.shift += group * one.out_channels;
        const int8_t *const channels = input + group * one.in_channels;
        int8_t *to = output + group * one.out_channels;
        for (int32_t y = 0; y < w->out_height; y++) {
            for (int32_t x = 0; x < w->out_width; x++) {
                const ek_place at = ek_place_at(w, y, x);
                gather(p, channels, &at, scratch);
                ek_rows_1(&one, scratch, to);
                to += one.out_channels * p->groups;
            }
        }
    }
}

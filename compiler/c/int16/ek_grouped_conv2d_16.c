#include "ek_patch_16.h"
#include "ek_rows_16.h"

/* scratch: a patch of `taps` numbers. */
void ek_grouped_conv2d_16(const ek_grouped_conv2d_16_params *p, const int16_t *input,
                          int16_t *output, void *scratch) {
    const ek_window *w = &p->group.window;
    const int32_t in_pixel = p->group.in_channels * p->groups;
    for (int32_t group = 0; group < p->groups; group++) {
        ek_conv2d_16_params one = p->group;
        one.weights += group * one.taps * one.out_channels;
        one.output.bias += group * one.out_channels;
        one.output.multiplier += group * one.out_channels;
        one.output.shift += group * one.out_channels;
        const int16_t *const channels = input + group * one.in_channels;
        int16_t *to = output + group * one.out_channels;
        for (int32_t y = 0; y < w->out_height; y++) {
            for (int32_t x = 0; x < w->out_width; x++) {
                const ek_place at = ek_place_at(w, y, x);
                ek_patch_16(w, one.in_channels, in_pixel, channels, &at, scratch);
                ek_rows_1_16(&one, scratch, to);
                to += one.out_channels * p->groups;
            }
        }
    }
}

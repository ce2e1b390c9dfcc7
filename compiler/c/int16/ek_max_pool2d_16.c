#include "ek_int16_kernels.h"
#include "ek_window.h"

/* Largest value of channel `c` in the window at a place; the padding takes no part. */
static int16_t largest(const ek_pool2d_params *p, const int16_t *input, const ek_place *at,
                       int32_t c) {
    int16_t best = INT16_MIN;
    for (int32_t ky = at->rows.first; ky < at->rows.end; ky++) {
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx++) {
            const int16_t value = input[ek_pixel(&p->window, at, ky, kx) * p->channels + c];
            best = value > best ? value : best;
        }
    }
    return best;
}

void ek_max_pool2d_16(const ek_pool2d_params *p, const int16_t *input, int16_t *output) {
    for (int32_t oy = 0; oy < p->window.out_height; oy++) {
        for (int32_t ox = 0; ox < p->window.out_width; ox++) {
            const ek_place at = ek_place_at(&p->window, oy, ox);
            for (int32_t c = 0; c < p->channels; c++) {
                *output++ = largest(p, input, &at, c);
            }
        }
    }
}

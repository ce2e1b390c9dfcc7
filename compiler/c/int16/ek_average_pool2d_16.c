#include "ek_int16_kernels.h"
#include "ek_window.h"

/* Mean of channel `c` in the window at a place, ties away from zero. The padding takes no part,
 * and every window meets the input. */
static int16_t average(const ek_pool2d_params *p, const int16_t *input, const ek_place *at,
                       int32_t c) {
    const int32_t count = (at->rows.end - at->rows.first) * (at->columns.end - at->columns.first);
    int32_t sum = 0;
    for (int32_t ky = at->rows.first; ky < at->rows.end; ky++) {
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx++) {
            sum += input[ek_pixel(&p->window, at, ky, kx) * p->channels + c];
        }
    }
    return (int16_t)((sum > 0 ? sum + count / 2 : sum - count / 2) / count);
}

void ek_average_pool2d_16(const ek_pool2d_params *p, const int16_t *input, int16_t *output) {
    for (int32_t oy = 0; oy < p->window.out_height; oy++) {
        for (int32_t ox = 0; ox < p->window.out_width; ox++) {
            const ek_place at = ek_place_at(&p->window, oy, ox);
            for (int32_t c = 0; c < p->channels; c++) {
                *output++ = average(p, input, &at, c);
            }
        }
    }
}

#include "ek_rows_16.h"

/* A window of one pixel that moves one pixel at a time: pixels are patches already. */
void ek_pointwise_16(const ek_conv2d_16_params *p, const int16_t *input, int16_t *output) {
    int32_t left = p->window.out_height * p->window.out_width;
    for (; left >= 2; left -= 2) {
        ek_rows_2_16(p, input, input + p->in_channels, output);
        input += 2 * p->in_channels;
        output += 2 * p->out_channels;
    }
    if (left > 0) {
        ek_rows_1_16(p, input, output);
    }
}

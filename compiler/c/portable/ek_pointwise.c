#include "ek_rows.h"

/* A window of one pixel that moves one pixel at a time: pixels are patches already. */
void ek_pointwise(const ek_conv2d_params *p, const int8_t *input, int8_t *output) {
    int32_t left = p->window.out_height * p->window.out_width;
    for (; left >= 2; left -= 2) {
        ek_rows_2(p, input, input + p->in_channels, output);
        input += 2 * p->in_channels;
        output += 2 * p->out_channels;
    }
    if (left > 0) {
        ek_rows_1(p, input, output);
    }
}

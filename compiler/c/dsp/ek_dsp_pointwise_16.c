#include "ek_matrix_16.h"

/* A window of one pixel that moves one pixel at a time.
 * scratch: 4 columns, 2 * in_channels bytes each. in_channels is a multiple of 4. */
void ek_dsp_pointwise_16(const ek_dsp_conv2d_16_params *p, const int16_t *input, int16_t *output,
                         void *scratch) {
    uint32_t *const columns = scratch;
    int32_t left = p->window.out_height * p->window.out_width;
    for (; left >= 4; left -= 4) {
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            ek_words_16(input, p->in_channels, columns + pixel, 4);
            input += p->in_channels;
        }
        ek_matrix_4_16(p, columns, output);
        output += 4 * p->out_channels;
    }
    for (; left > 0; left--) {
        ek_words_16(input, p->in_channels, columns, 1);
        ek_matrix_1_16(p, columns, output);
        input += p->in_channels;
        output += p->out_channels;
    }
}

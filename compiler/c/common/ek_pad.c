#include "ek_kernels.h"

static int8_t *fill(int8_t *output, int32_t count, int8_t value) {
    for (int32_t i = 0; i < count; i++) {
        *output++ = value;
    }
    return output;
}

void ek_pad(const ek_pad_params *p, const int8_t *input, int8_t *output) {
    const int8_t zero = (int8_t)p->zero_point;
    const int32_t row = p->in_width * p->channels;
    const int32_t outer_row = row + (p->left + p->right) * p->channels;
    output = fill(output, p->top * outer_row, zero);
    for (int32_t y = 0; y < p->in_height; y++) {
        output = fill(output, p->left * p->channels, zero);
        for (int32_t i = 0; i < row; i++) {
            *output++ = *input++;
        }
        output = fill(output, p->right * p->channels, zero);
    }
    fill(output, p->bottom * outer_row, zero);
}

#include "ek_walk.h"

void ek_pad_axes(const ek_pad_axes_params *p, const int8_t *input, int8_t *output) {
    int32_t index[EK_OUTER] = {0};
    const int32_t count = p->axes.shape[EK_OUTER], step = p->axes.strides[EK_OUTER];
    for (int32_t i = 0; i < p->size; i++) {
        output[i] = (int8_t)p->fill;
    }
    do {
        int8_t *to = output + p->start + ek_offset(p->axes.strides, index);
        for (int32_t i = 0; i < count; i++) {
            to[i * step] = *input++;
        }
    } while (ek_next(p->axes.shape, index));
}

#include "ek_int16_kernels.h"
#include "ek_walk.h"

void ek_pad_axes_16(const ek_pad_axes_params *p, const int16_t *input, int16_t *output) {
    int32_t index[EK_OUTER] = {0};
    const int32_t count = p->axes.shape[EK_OUTER], step = p->axes.strides[EK_OUTER];
    for (int32_t i = 0; i < p->size; i++) {
        output[i] = (int16_t)p->fill;
    }
    do {
        int16_t *to = output + p->start + ek_offset(p->axes.strides, index);
        for (int32_t i = 0; i < count; i++) {
            to[i * step] = *input++;
        }
    } while (ek_next(p->axes.shape, index));
}

#include "ek_walk.h"

void ek_copy(const ek_copy_params *p, const int8_t *input, int8_t *output) {
    int32_t index[EK_OUTER] = {0};
    const int32_t count = p->axes.shape[EK_OUTER], step = p->axes.strides[EK_OUTER];
    do {
        const int8_t *from = input + p->start + ek_offset(p->axes.strides, index);
        for (int32_t i = 0; i < count; i++) {
            *output++ = from[i * step];
        }
    } while (ek_next(p->axes.shape, index));
}

#include "ek_axes_kernels.h"

void ek_concatenation(const ek_concatenation_params *p, const int8_t *const *parts,
                      int8_t *output) {
    for (int32_t row = 0; row < p->rows; row++) {
        for (int32_t part = 0; part < p->parts; part++) {
            const int32_t size = p->sizes[part];
            const int8_t *const from = parts[part] + row * size;
            for (int32_t i = 0; i < size; i++) {
                *output++ = from[i];
            }
        }
    }
}

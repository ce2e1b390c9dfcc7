#include "ek_float_kernels.h"

void ek_dequantize_16(const ek_float_params *p, const int16_t *input, float *output) {
    for (int32_t i = 0; i < p->size; i++) {
        output[i] = (float)(input[i] - p->zero_point) * p->scale;
    }
}

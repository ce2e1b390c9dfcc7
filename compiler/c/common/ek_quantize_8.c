#include "ek_round.h"

void ek_quantize_8(const ek_float_params *p, const float *input, int8_t *output) {
    for (int32_t i = 0; i < p->size; i++) {
        output[i] = (int8_t)ek_rounded(p, input[i], INT8_MIN, INT8_MAX);
    }
}

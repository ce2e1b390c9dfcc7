#include "ek_round.h"

void ek_quantize_16(const ek_float_params *p, const float *input, int16_t *output) {
    for (int32_t i = 0; i < p->size; i++) {
        output[i] = (int16_t)ek_rounded(p, input[i], INT16_MIN, INT16_MAX);
    }
}

#include "ek_int16_kernels.h"
#include "ek_interpolate_16.h"

void ek_lookup_16(const ek_lookup_16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t i = 0; i < p->size; i++) {
        output[i] = (int16_t)ek_interpolate_16(p->table, input[i]);
    }
}

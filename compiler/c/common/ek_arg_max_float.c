#define EK_ELEMENT float
#define EK_INDEX int32_t
#include "ek_arg_max.h"

void ek_arg_max_float(const ek_arg_max_params *p, const float *input, int32_t *output) {
    ek_arg_max(p, input, output);
}

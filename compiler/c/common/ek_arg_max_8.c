#define EK_ELEMENT int8_t
#define EK_INDEX int32_t
#include "ek_arg_max.h"

void ek_arg_max_8(const ek_arg_max_params *p, const int8_t *input, int32_t *output) {
    ek_arg_max(p, input, output);
}

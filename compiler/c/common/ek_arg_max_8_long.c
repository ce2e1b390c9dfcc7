#define EK_ELEMENT int8_t
#define EK_INDEX int64_t
#include "ek_arg_max.h"

void ek_arg_max_8_long(const ek_arg_max_params *p, const int8_t *input, int64_t *output) {
    ek_arg_max(p, input, output);
}

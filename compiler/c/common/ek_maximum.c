#include "ek_broadcast.h"

EK_INLINE int8_t step(const void *params, int8_t a, int8_t b) {
    (void)params;
    return a > b ? a : b;
}

void ek_maximum(const ek_choice_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    ek_each_pair(&p->axes, p, step, a, b, output);
}

#define EK_INT16
#include "ek_broadcast.h"
#include "ek_int16_kernels.h"

EK_INLINE int16_t step(const void *params, int16_t a, int16_t b) {
    (void)params;
    return a > b ? a : b;
}

void ek_maximum_16(const ek_choice_params *p, const int16_t *a, const int16_t *b, int16_t *output) {
    ek_each_pair(&p->axes, p, step, a, b, output);
}

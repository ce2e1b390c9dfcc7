#define EK_INT16
#include "ek_int16_kernels.h"
#include "ek_sum.h"

EK_INLINE int16_t step(const void *params, int16_t a, int16_t b) {
    const ek_sum_params *const p = params;
    return ek_summed(p, ek_widened(&p->a, a) + ek_widened(&p->b, b));
}

void ek_add_axes_16(const ek_sum_params *p, const int16_t *a, const int16_t *b, int16_t *output) {
    ek_each_pair(&p->axes, p, step, a, b, output);
}

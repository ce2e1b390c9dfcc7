#include "ek_sum.h"

EK_INLINE int8_t step(const void *params, int8_t a, int8_t b) {
    const ek_sum_params *const p = params;
    return ek_summed(p, ek_widened(&p->a, a) + ek_widened(&p->b, b));
}

void ek_add_axes(const ek_sum_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    ek_each_pair(&p->axes, p, step, a, b, output);
}

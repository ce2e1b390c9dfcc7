#include "ek_int16_kernels.h"
#include "ek_requantize.h"

#define SATURATED 255 /* the first place behind the table's last step */

/* The table between two entries, at a place that is not negative. */
static int32_t read(const ek_sigmoid_16_params *p, int64_t place) {
    const int64_t index = place >> p->bits;
    if (index >= SATURATED) {
        return p->saturated;
    }
    const int32_t base = p->table[index], slope = p->table[index + 1] - base;
    const int32_t fraction = (int32_t)place & (((int32_t)1 << p->bits) - 1);
    return base * ((int32_t)1 << p->bits) + fraction * slope;
}

void ek_sigmoid_16(const ek_sigmoid_16_params *p, const int16_t *input, int16_t *output) {
    const int64_t half = ((int64_t)1 << p->shift) >> 1;
    for (int32_t i = 0; i < p->size; i++) {
        const int64_t place = ((int64_t)input[i] * p->multiplier + half) >> p->shift;
        const int32_t value = place >= 0 ? p->above + read(p, place) : p->below - read(p, -place);
        output[i] = (int16_t)(value >> p->out_shift);
    }
}

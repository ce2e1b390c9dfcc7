#include "ek_kernels.h"

typedef char ek_double_must_have_64_bits[sizeof(double) == 8 ? 1 : -1];

/* sum * factor within bounds, ties away from zero. The product is volatile so that it is rounded
 * to a double: a fused multiply-add would keep more bits, and the last one decides ties. */
static int32_t scale(int32_t sum, double factor, int32_t minimum, int32_t maximum) {
    const volatile double rounded = (double)sum * factor;
    const double product = rounded;
    if (product <= minimum) {
        return minimum;
    }
    if (product >= maximum) {
        return maximum;
    }
    return (int32_t)(product < 0.0 ? product - 0.5 : product + 0.5);
}

void ek_fully_connected(const ek_fully_connected_params *p, const int8_t *input, int8_t *output) {
    const int8_t *weights = p->weights;
    for (int32_t i = 0; i < p->out_size; i++) {
        int32_t sum = p->bias[i];
        for (int32_t k = 0; k < p->in_size; k++) {
            sum += *weights++ * (input[k] - p->input_zero_point);
        }
        const int32_t scaled = scale(sum, p->factor[i], p->minimum - p->zero_point,
                                     p->maximum - p->zero_point);
        output[i] = (int8_t)(scaled + p->zero_point);
    }
}

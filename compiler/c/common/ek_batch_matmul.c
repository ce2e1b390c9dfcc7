#include "ek_requantize.h"
#include "ek_walk.h"

static int8_t cell(const ek_batch_matmul_params *p, const int8_t *a, const int8_t *b) {
    int32_t sum = 0;
    for (int32_t k = 0; k < p->inner; k++) {
        sum += (a[k] - p->a_zero_point) * (b[k * p->b_row] - p->b_zero_point);
    }
    const int32_t scaled = ek_scale_bounded(sum, p->multiplier, p->shift);
    return (int8_t)ek_clamp(scaled + p->output_zero_point, INT8_MIN, INT8_MAX);
}

void ek_batch_matmul(const ek_batch_matmul_params *p, const int8_t *a, const int8_t *b,
                     int8_t *output) {
    int32_t index[EK_OUTER] = {0};
    do {
        const int8_t *const left = a + ek_offset(p->batches.a, index);
        const int8_t *const right = b + ek_offset(p->batches.b, index);
        for (int32_t row = 0; row < p->rows; row++) {
            for (int32_t column = 0; column < p->columns; column++) {
                *output++ = cell(p, left + row * p->inner, right + column * p->b_column);
            }
        }
    } while (ek_next(p->batches.shape, index));
}

#include "ek_finish_16.h"
#include "ek_walk.h"

static int16_t cell(const ek_batch_matmul_16_params *p, const int16_t *a, const int16_t *b) {
    int64_t sum = 0;
    for (int32_t k = 0; k < p->inner; k++) {
        sum += a[k] * b[k * p->b_row];
    }
    return ek_clamp_wide(ek_scale_wide(sum, p->multiplier, p->shift), INT16_MIN, INT16_MAX);
}

void ek_batch_matmul_16(const ek_batch_matmul_16_params *p, const int16_t *a, const int16_t *b,
                        int16_t *output) {
    int32_t index[EK_OUTER] = {0};
    do {
        const int16_t *const left = a + ek_offset(p->batches.a, index);
        const int16_t *const right = b + ek_offset(p->batches.b, index);
        for (int32_t row = 0; row < p->rows; row++) {
            for (int32_t column = 0; column < p->columns; column++) {
                *output++ = cell(p, left + row * p->inner, right + column * p->b_column);
            }
        }
    } while (ek_next(p->batches.shape, index));
}

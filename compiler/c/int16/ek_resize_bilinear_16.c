#include "ek_int16_kernels.h"

#define ONE ((int64_t)1 << 10)
#define HALF (ONE * ONE / 2)

void ek_resize_bilinear_16(const ek_resize_bilinear_params *p, const int16_t *input,
                           int16_t *output) {
    const int32_t in_row = p->in_width * p->channels;
    for (int32_t y = 0; y < p->rows.count; y++) {
        const int16_t *const top = input + p->rows.first[y] * in_row;
        const int16_t *const bottom = input + p->rows.second[y] * in_row;
        const int64_t down = p->rows.share[y];
        for (int32_t x = 0; x < p->columns.count; x++) {
            const int32_t left = p->columns.first[x] * p->channels;
            const int32_t right = p->columns.second[x] * p->channels;
            const int64_t along = p->columns.share[x];
            for (int32_t c = 0; c < p->channels; c++) {
                const int64_t a = top[left + c] * (ONE - down) + bottom[left + c] * down;
                const int64_t b = top[right + c] * (ONE - down) + bottom[right + c] * down;
                const int64_t total = a * (ONE - along) + b * along;
                *output++ = (int16_t)((total + (total > 0 ? HALF : -HALF)) / (ONE * ONE));
            }
        }
    }
}

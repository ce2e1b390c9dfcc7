#include "ek_axes_kernels.h"

void ek_select(const ek_select_params *p, const int8_t *input, int8_t *output) {
    const int32_t in_row = p->in_columns * p->channels;
    for (int32_t group = 0; group < p->groups; group++) {
        for (int32_t y = 0; y < p->rows; y++) {
            const int8_t *const row = input + p->row[y] * in_row;
            for (int32_t x = 0; x < p->columns; x++) {
                const int8_t *const from = row + p->column[x] * p->channels;
                for (int32_t c = 0; c < p->channels; c++) {
                    *output++ = from[c];
                }
            }
        }
        input += p->in_rows * in_row;
    }
}

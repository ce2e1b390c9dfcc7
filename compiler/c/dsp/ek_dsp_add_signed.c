#include "ek_dsp_add.h"

void ek_dsp_add_signed(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output) {
    ek_dsp_add(p, a, b, output, ek_finish_signed);
}

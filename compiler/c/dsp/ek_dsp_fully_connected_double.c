#include "ek_dsp_fully_connected.h"

void ek_dsp_fully_connected_double(const ek_dsp_fully_connected_double_params *p, const int8_t *input,
                                   int8_t *output, void *scratch) {
    const ek_dense_double_output o = p->output; /* stores of int8 could alias what p points to */
    ek_dsp_dense_rows(&p->dense, &o, input, output, scratch, ek_scale_once_double);
}

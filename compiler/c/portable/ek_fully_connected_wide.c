#include "ek_fully_connected.h"

void ek_fully_connected_wide(const ek_fully_connected_wide_params *p, const int8_t *input,
                             int8_t *output) {
    const ek_dense_wide_output o = p->output; /* stores of int8 could alias what p points to */
    ek_dense_rows(&p->dense, &o, input, output, ek_scale_once_wide);
}

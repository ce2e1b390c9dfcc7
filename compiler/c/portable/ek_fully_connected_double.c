#include "ek_fully_connected.h"

void ek_fully_connected_double(const ek_fully_connected_double_params *p, const int8_t *input,
                               int8_t *output) {
    ek_dense_rows(&p->dense, &p->output, input, output, ek_scale_once_double);
}

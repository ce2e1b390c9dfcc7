#include "ek_fully_connected.h"

void ek_fully_connected(const ek_fully_connected_params *p, const int8_t *input,
                        int8_t *output) {
    ek_dense_rows(&p->dense, &p->output, input, output, ek_scale_once);
}

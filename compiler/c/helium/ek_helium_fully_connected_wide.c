#include "ek_helium_fully_connected.h"
#include "ek_helium_kernels.h"

static inline void finish(const void *output, int32_t channel, int32_t count, ek_words sums,
                          int8_t *to) {
    ek_finish_each(output, channel, count, sums, to, ek_scale_once_wide);
}

void ek_helium_fully_connected_wide(const ek_fully_connected_wide_params *p, const int8_t *input,
                                    int8_t *output) {
    ek_helium_dense_rows(&p->dense, &p->output, input, output, finish);
}

/* Convolutions, products and sums for cores with Helium: Cortex-M55 and M85.
 *
 * They equal the portable family bit for bit and run on any machine; parameters are those of
 * ek_portable.h with weights in another order. A kernel's suffix says how it rounds: `rectified`
 * where the zero point and the smallest output are -128, `clamped` for any range.
 */
#ifndef EK_HELIUM_KERNELS_H
#define EK_HELIUM_KERNELS_H

#include "ek_portable.h"

/* Weights as ek_strips.h says. */
#define EK_HELIUM_CONV2D(name)                                                                     \
    void name(const ek_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
/* Weights and factors as ek_helium_depthwise.h says; each channel gives one output. */
#define EK_HELIUM_DEPTHWISE(name)                                                                  \
    void name(const ek_depthwise_conv2d_params *p, const int8_t *input, int8_t *output,            \
              void *scratch)

EK_HELIUM_CONV2D(ek_helium_conv2d_rectified);
EK_HELIUM_CONV2D(ek_helium_conv2d_clamped);
EK_HELIUM_CONV2D(ek_helium_pointwise_rectified);
EK_HELIUM_CONV2D(ek_helium_pointwise_clamped);
EK_HELIUM_DEPTHWISE(ek_helium_depthwise_rectified);
EK_HELIUM_DEPTHWISE(ek_helium_depthwise_clamped);

void ek_helium_add(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output);

/* Weights as ek_strips.h says. */
void ek_helium_fully_connected(const ek_fully_connected_params *p, const int8_t *input,
                               int8_t *output);
void ek_helium_fully_connected_wide(const ek_fully_connected_wide_params *p, const int8_t *input,
                                    int8_t *output);
void ek_helium_fully_connected_double(const ek_fully_connected_double_params *p,
                                      const int8_t *input, int8_t *output);

#endif

/* Convolutions and products of int16 with int8 weights for cores with DSP instructions.
 *
 * They equal those of ek_int16_kernels.h bit for bit and run on any machine. They are for layers
 * whose sums, biases included, fit 32 bits at every step; other layers take the portable kernels.
 */
#ifndef EK_DSP_INT16_KERNELS_H
#define EK_DSP_INT16_KERNELS_H

#include "ek_int16_kernels.h"

/* An output is sum * multiplier / 2^(16 + shift), ties up. Multipliers have 15 bits, shifts are 1 to
 * 30. */
typedef struct {
    const int32_t *bias;
    const int16_t *multiplier;
    const int8_t *shift;
    int32_t minimum, maximum;
} ek_dsp_output_16;

/* Weights as ek_dot.h describes, of taps in their order: pairs are (0, 1), (2, 3) and so on. A
 * column has 2 * pairs taps, at least those of the window. */
typedef struct {
    ek_window window;
    int32_t in_channels, out_channels;
    int32_t pairs;
    const uint32_t *weights;
    ek_dsp_output_16 output;
} ek_dsp_conv2d_16_params;

/* As ek_depthwise_conv2d_16_params, for windows of 3 by 3 without dilation. */
typedef struct {
    ek_planes_16 planes;
    const int8_t *weights;
    ek_dsp_output_16 output;
} ek_dsp_depthwise_16_params;

/* As ek_fully_connected_16_params, with weights as above. */
typedef struct {
    int32_t rows, in_size, out_size;
    int32_t pairs;
    const uint32_t *weights;
    const int32_t *bias;
    ek_real_output_16 output;
} ek_dsp_fully_connected_16_params;

void ek_dsp_conv2d_16(const ek_dsp_conv2d_16_params *p, const int16_t *input, int16_t *output,
                      void *scratch);
void ek_dsp_pointwise_16(const ek_dsp_conv2d_16_params *p, const int16_t *input, int16_t *output,
                         void *scratch);
void ek_dsp_depthwise_16(const ek_dsp_depthwise_16_params *p, const int16_t *input,
                         int16_t *output, void *scratch);
void ek_dsp_fully_connected_16(const ek_dsp_fully_connected_16_params *p, const int16_t *input,
                               int16_t *output, void *scratch);

#endif

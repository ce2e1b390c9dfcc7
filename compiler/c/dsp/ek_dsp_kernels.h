/* Convolutions and products for cores with DSP instructions: Cortex-M4, M7, M33.
 *
 * They equal the portable family bit for bit and run on any machine. A kernel's suffix says which
 * outputs it makes: `rectified` where the zero point and the smallest output are -128 and the
 * largest is 127, `signed` for all of -128..127, `clamped` for any range.
 */
#ifndef EK_DSP_KERNELS_H
#define EK_DSP_KERNELS_H

#include "ek_kernels.h"

/* Weights as ek_dot.h describes; a column has 2 * pairs taps, at least those of the window. */
typedef struct {
    ek_window window;
    int32_t in_channels, out_channels;
    int32_t input_zero_point;
    int32_t pairs;
    const uint32_t *weights;
    ek_output output;
} ek_dsp_conv2d_params;

/* Depthwise windows of any size, on a plane of plane_height rows (ek_dsp_depthwise_any.h). An
 * input's rows and columns may change places: in_row and in_column, out_row and out_column are the
 * bytes from one row or column to the next. */
typedef struct {
    ek_window window;
    int32_t channels, multiplier;
    int32_t input_zero_point;
    int32_t in_row, in_column, out_row, out_column;
    int32_t plane_height, phase_width;
    int32_t words; /* of a channel's weights in scratch */
    const int8_t *weights;
    ek_output output;
} ek_dsp_depthwise_any_params;

typedef struct {
    int32_t rows, in_size, out_size;
    int32_t pairs;
    const uint32_t *weights;
    const int32_t *bias;
} ek_dsp_dense;

typedef struct {
    ek_dsp_dense dense;
    ek_dense_output output;
} ek_dsp_fully_connected_params;

typedef struct {
    ek_dsp_dense dense;
    ek_dense_wide_output output;
} ek_dsp_fully_connected_wide_params;

typedef struct {
    ek_dsp_dense dense;
    ek_dense_double_output output;
} ek_dsp_fully_connected_double_params;

#define EK_DSP_CONV2D(name)                                                                        \
    void name(const ek_dsp_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch)
#define EK_DSP_DEPTHWISE(name)                                                                     \
    void name(const ek_depthwise_conv2d_params *p, const int8_t *input, int8_t *output,            \
              void *scratch)
#define EK_DSP_DEPTHWISE_ANY(name)                                                                 \
    void name(const ek_dsp_depthwise_any_params *p, const int8_t *input, int8_t *output,           \
              void *scratch)

EK_DSP_CONV2D(ek_dsp_conv2d_rectified);
EK_DSP_CONV2D(ek_dsp_conv2d_signed);
EK_DSP_CONV2D(ek_dsp_conv2d_clamped);
EK_DSP_CONV2D(ek_dsp_pointwise_rectified);
EK_DSP_CONV2D(ek_dsp_pointwise_signed);
EK_DSP_CONV2D(ek_dsp_pointwise_clamped);
EK_DSP_DEPTHWISE(ek_dsp_depthwise_rectified);
EK_DSP_DEPTHWISE(ek_dsp_depthwise_signed);
EK_DSP_DEPTHWISE(ek_dsp_depthwise_clamped);
EK_DSP_DEPTHWISE_ANY(ek_dsp_depthwise_any_rectified);
EK_DSP_DEPTHWISE_ANY(ek_dsp_depthwise_any_signed);
EK_DSP_DEPTHWISE_ANY(ek_dsp_depthwise_any_clamped);

void ek_dsp_add_rectified(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_dsp_add_signed(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_dsp_add_clamped(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output);

void ek_dsp_fully_connected(const ek_dsp_fully_connected_params *p, const int8_t *input,
                            int8_t *output, void *scratch);
void ek_dsp_fully_connected_wide(const ek_dsp_fully_connected_wide_params *p, const int8_t *input,
                                 int8_t *output, void *scratch);
void ek_dsp_fully_connected_double(const ek_dsp_fully_connected_double_params *p, const int8_t *input,
                                 int8_t *output, void *scratch);

#endif

/* Convolutions and products in plain C: for cores without DSP instructions, and for any host. */
#ifndef EK_PORTABLE_H
#define EK_PORTABLE_H

#include "ek_kernels.h"

/* Weights are [out_channels / 4][taps][4], then [taps] for each channel that is left; taps are
 * kernel_height * kernel_width * in_channels. */
typedef struct {
    ek_window window;
    int32_t in_channels, out_channels;
    int32_t input_zero_point;
    int32_t taps;
    const int8_t *weights;
    ek_output output;
} ek_conv2d_params;

/* `group` is the first of `groups`: its channels, weights and factors; the others' follow them. */
typedef struct {
    int32_t groups;
    ek_conv2d_params group;
} ek_grouped_conv2d_params;

/* taps are in_size. */
typedef struct {
    int32_t rows, in_size, out_size;
    const int8_t *weights;
    const int32_t *bias;
} ek_dense;

typedef struct {
    ek_dense dense;
    ek_dense_output output;
} ek_fully_connected_params;

typedef struct {
    ek_dense dense;
    ek_dense_wide_output output;
} ek_fully_connected_wide_params;

typedef struct {
    ek_dense dense;
    ek_dense_double_output output;
} ek_fully_connected_double_params;

void ek_conv2d(const ek_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch);
void ek_grouped_conv2d(const ek_grouped_conv2d_params *p, const int8_t *input, int8_t *output,
                       void *scratch);
void ek_pointwise(const ek_conv2d_params *p, const int8_t *input, int8_t *output);
void ek_depthwise_conv2d(const ek_depthwise_conv2d_params *p, const int8_t *input, int8_t *output,
                         void *scratch);
void ek_fully_connected(const ek_fully_connected_params *p, const int8_t *input, int8_t *output);
void ek_fully_connected_wide(const ek_fully_connected_wide_params *p, const int8_t *input,
                             int8_t *output);
void ek_fully_connected_double(const ek_fully_connected_double_params *p, const int8_t *input,
                             int8_t *output);

#endif

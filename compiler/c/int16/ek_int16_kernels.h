/* Operators on int16 with int8 weights, NHWC, batch 1, as TensorFlow Lite's 16x8 specification
 * defines them: zero points are 0. They promise what ek_kernels.h promises.
 *
 * Sums of products are 64 bits wide. Operators that only move codes have no kernel here: those of
 * int8 move pairs of bytes.
 */
#ifndef EK_INT16_KERNELS_H
#define EK_INT16_KERNELS_H

#include "ek_axes_kernels.h"

/* What turns a channel's sum into an output: sum * multiplier / 2^shift, rounded once. Multipliers
 * have 15 bits, shifts are 1 to 46, sums have at most 47 bits and a sign. */
typedef struct {
    const int64_t *bias;
    const int16_t *multiplier;
    const int8_t *shift;
    int32_t minimum, maximum;
} ek_output_16;

/* Weights are [out_channels / 4][taps][4], then [taps] for each channel that is left; taps are
 * kernel_height * kernel_width * in_channels. */
typedef struct {
    ek_window window;
    int32_t in_channels, out_channels;
    int32_t taps;
    const int8_t *weights;
    ek_output_16 output;
} ek_conv2d_16_params;

/* `group` is the first of `groups`: its channels, weights and factors; the others' follow them. */
typedef struct {
    int32_t groups;
    ek_conv2d_16_params group;
} ek_grouped_conv2d_16_params;

/* What depthwise convolutions slide over, as ek_depthwise_conv2d_params has it. */
typedef struct {
    ek_window window;
    int32_t channels, multiplier;
    int32_t height, width; /* of a plane: one channel with the padding that windows reach */
} ek_planes_16;

/* The weights of one row of a kernel are at most 508. */
typedef struct {
    ek_planes_16 planes;
    const int8_t *weights;
    ek_output_16 output;
} ek_depthwise_conv2d_16_params;

/* As ek_transpose_conv2d_params. */
typedef struct {
    ek_window window;
    int32_t in_channels, channels;
    const int8_t *weights;
    ek_output_16 output;
} ek_transpose_conv2d_16_params;

/* Outputs of fully connected layers are scaled in double precision and rounded once, half away from
 * zero; multiplier / 2^(32 + shift) is the factor to 31 bits, shifts are 1 to 30. Entry
 * `channel & channels` is a channel's: -1 where each has its own, 0 where one serves all. */
typedef struct {
    const double *factor;
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t channels;
    int32_t minimum, maximum;
} ek_real_output_16;

/* Weights are as ek_conv2d_16_params has them, taps are in_size. */
typedef struct {
    int32_t rows, in_size, out_size;
    const int8_t *weights;
    const int64_t *bias;
    ek_real_output_16 output;
} ek_fully_connected_16_params;

/* As ek_batch_matmul_params; multiplier and shift as in ek_output_16. */
typedef struct {
    ek_broadcast batches;
    int32_t rows, inner, columns;
    int32_t b_row, b_column;
    int32_t multiplier, shift;
} ek_batch_matmul_16_params;

/* One factor, and bounds; from int8 or to it there are zero points. */
typedef struct {
    int32_t size;
    int32_t input_zero_point, output_zero_point;
    int32_t multiplier, shift;
    int32_t minimum, maximum;
} ek_rescale_params;

/* `below` scales numbers under zero; `below_sign` is that of the slope. */
typedef struct {
    int32_t size;
    int32_t multiplier, shift;
    int32_t below_multiplier, below_shift, below_sign;
} ek_leaky_relu_16_params;

typedef struct {
    int32_t size;
    int32_t multiplier, shift;
} ek_abs_16_params;

/* `table` holds the outputs of -32768, -32640 and so on to 32640, and of 32767. */
typedef struct {
    int32_t size;
    const int16_t *table;
} ek_lookup_16_params;

/* `table` is sigmoid(i / 24) in 1/65536. An input becomes a place in it with `bits` behind the
 * point: (input * multiplier + half of 2^shift) / 2^shift. What is read there has `bits` more than
 * the table, or is `saturated` behind its end. The output is (above + what is read) / 2^out_shift,
 * and (below - what is read) / 2^out_shift where the input is under zero. */
typedef struct {
    int32_t size;
    const uint16_t *table;
    int32_t multiplier, shift;
    int32_t bits;
    int32_t saturated, above, below, out_shift;
} ek_sigmoid_16_params;

/* Tables as in ek_lookup_16_params: e^x from -10 to 0, and 1 / (1 + x) from 0 to 1, in Q0.15. The
 * factor turns a difference of logits into a place of the first. */
typedef struct {
    int32_t rows, classes;
    int32_t multiplier, shift;
    const int16_t *exp, *reciprocal;
} ek_softmax_16_params;

void ek_conv2d_16(const ek_conv2d_16_params *p, const int16_t *input, int16_t *output,
                  void *scratch);
void ek_grouped_conv2d_16(const ek_grouped_conv2d_16_params *p, const int16_t *input,
                          int16_t *output, void *scratch);
void ek_pointwise_16(const ek_conv2d_16_params *p, const int16_t *input, int16_t *output);
void ek_depthwise_conv2d_16(const ek_depthwise_conv2d_16_params *p, const int16_t *input,
                            int16_t *output, void *scratch);
void ek_transpose_conv2d_16(const ek_transpose_conv2d_16_params *p, const int16_t *input,
                            int16_t *output);
void ek_fully_connected_16(const ek_fully_connected_16_params *p, const int16_t *input,
                           int16_t *output);
void ek_batch_matmul_16(const ek_batch_matmul_16_params *p, const int16_t *a, const int16_t *b,
                        int16_t *output);
void ek_max_pool2d_16(const ek_pool2d_params *p, const int16_t *input, int16_t *output);
void ek_average_pool2d_16(const ek_pool2d_params *p, const int16_t *input, int16_t *output);
void ek_resize_bilinear_16(const ek_resize_bilinear_params *p, const int16_t *input,
                           int16_t *output);
void ek_add_axes_16(const ek_sum_params *p, const int16_t *a, const int16_t *b, int16_t *output);
void ek_sub_16(const ek_sum_params *p, const int16_t *a, const int16_t *b, int16_t *output);
void ek_mul_16(const ek_mul_params *p, const int16_t *a, const int16_t *b, int16_t *output);
void ek_minimum_16(const ek_choice_params *p, const int16_t *a, const int16_t *b, int16_t *output);
void ek_maximum_16(const ek_choice_params *p, const int16_t *a, const int16_t *b, int16_t *output);
void ek_sum_axes_16(const ek_sum_axes_params *p, const int16_t *input, int16_t *output);
void ek_reduce_max_16(const ek_reduce_max_params *p, const int16_t *input, int16_t *output);
void ek_pad_axes_16(const ek_pad_axes_params *p, const int16_t *input, int16_t *output);
void ek_rescale_16(const ek_rescale_params *p, const int16_t *input, int16_t *output);
void ek_rescale_8_to_16(const ek_rescale_params *p, const int8_t *input, int16_t *output);
void ek_rescale_16_to_8(const ek_rescale_params *p, const int16_t *input, int8_t *output);
void ek_leaky_relu_16(const ek_leaky_relu_16_params *p, const int16_t *input, int16_t *output);
void ek_abs_16(const ek_abs_16_params *p, const int16_t *input, int16_t *output);
void ek_lookup_16(const ek_lookup_16_params *p, const int16_t *input, int16_t *output);
void ek_sigmoid_16(const ek_sigmoid_16_params *p, const int16_t *input, int16_t *output);
void ek_softmax_16(const ek_softmax_16_params *p, const int16_t *input, int16_t *output);

#endif

/* int8 operators on tensors of any shape, batch 1. Shapes are written for EK_AXES axes: axes that
 * lie behind each other in memory are one, missing ones have size 1. Strides count elements; an
 * axis that is broadcast has stride 0. Outputs are dense and share no memory with inputs, except
 * that ek_lookup may work in place.
 */
#ifndef EK_AXES_KERNELS_H
#define EK_AXES_KERNELS_H

#include "ek_kernels.h"

#define EK_AXES 6

typedef struct {
    int32_t shape[EK_AXES];
    int32_t strides[EK_AXES];
} ek_axes;

typedef struct {
    int32_t shape[EK_AXES];
    int32_t a[EK_AXES], b[EK_AXES]; /* strides */
} ek_broadcast;

/* `table` holds the outputs of -128 to 127. */
typedef struct {
    int32_t size;
    const int8_t *table;
} ek_lookup_params;

/* `start` is the first element that is read. */
typedef struct {
    ek_axes axes;
    int32_t start;
} ek_copy_params;

/* The output's strides; `start` is the first element that is not padding. */
typedef struct {
    ek_axes axes;
    int32_t start;
    int32_t size;
    int32_t fill;
} ek_pad_axes_params;

/* Of [groups][in_rows][in_columns][channels] the rows and columns that two lists name. */
typedef struct {
    int32_t groups, in_rows, in_columns, channels;
    int32_t rows, columns;
    const int32_t *row, *column;
} ek_select_params;

/* Each row of the output is a row of each part, of `sizes` elements. */
typedef struct {
    int32_t rows, parts;
    const int32_t *sizes;
} ek_concatenation_params;

typedef struct {
    ek_broadcast axes;
    ek_addend a, b;
    int32_t output_multiplier, output_shift;
    int32_t output_zero_point;
    int32_t minimum, maximum;
} ek_sum_params;

typedef struct {
    ek_broadcast axes;
    int32_t a_zero_point, b_zero_point, output_zero_point;
    int32_t multiplier, shift;
    int32_t minimum, maximum;
} ek_mul_params;

typedef struct {
    ek_broadcast axes;
} ek_choice_params;

/* `below` scales products with a slope, for inputs under the zero point. */
typedef struct {
    ek_broadcast axes;
    int32_t input_zero_point, slope_zero_point, output_zero_point;
    int32_t multiplier, shift;
    int32_t below_multiplier, below_shift;
} ek_prelu_params;

typedef struct {
    ek_axes kept, reduced;
    int32_t first; /* what a sum starts at: its zero points, taken away */
    int32_t output_zero_point;
    int32_t multiplier, shift; /* the division of a mean is part of them */
} ek_sum_axes_params;

typedef struct {
    ek_axes kept, reduced;
} ek_reduce_max_params;

/* Line i of the output lies between two of the input; `share` of the second is in 1/1024. */
typedef struct {
    int32_t count;
    const int32_t *first, *second, *share;
} ek_lines;

typedef struct {
    ek_lines rows, columns;
    int32_t in_width, channels;
} ek_resize_bilinear_params;

/* `batches` walks over matrices; b is read at `b_row` * k + `b_column` * column. */
typedef struct {
    ek_broadcast batches;
    int32_t rows, inner, columns;
    int32_t b_row, b_column;
    int32_t a_zero_point, b_zero_point, output_zero_point;
    int32_t multiplier, shift;
} ek_batch_matmul_params;

/* Weights are [channels][kernel_height][kernel_width][in_channels]; padding is what is cut off the
 * output. */
typedef struct {
    ek_window window;
    int32_t in_channels, channels;
    int32_t input_zero_point;
    const int8_t *weights;
    ek_output output;
} ek_transpose_conv2d_params;

void ek_lookup(const ek_lookup_params *p, const int8_t *input, int8_t *output);
void ek_copy(const ek_copy_params *p, const int8_t *input, int8_t *output);
void ek_pad_axes(const ek_pad_axes_params *p, const int8_t *input, int8_t *output);
void ek_select(const ek_select_params *p, const int8_t *input, int8_t *output);
void ek_concatenation(const ek_concatenation_params *p, const int8_t *const *parts,
                      int8_t *output);
void ek_add_axes(const ek_sum_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_sub(const ek_sum_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_mul(const ek_mul_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_minimum(const ek_choice_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_maximum(const ek_choice_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_prelu(const ek_prelu_params *p, const int8_t *input, const int8_t *slopes, int8_t *output);
void ek_sum_axes(const ek_sum_axes_params *p, const int8_t *input, int8_t *output);
void ek_reduce_max(const ek_reduce_max_params *p, const int8_t *input, int8_t *output);
void ek_log_softmax(const ek_softmax_params *p, const int8_t *input, int8_t *output);
void ek_resize_bilinear(const ek_resize_bilinear_params *p, const int8_t *input, int8_t *output);
void ek_batch_matmul(const ek_batch_matmul_params *p, const int8_t *a, const int8_t *b,
                     int8_t *output);
void ek_transpose_conv2d(const ek_transpose_conv2d_params *p, const int8_t *input, int8_t *output);

#endif

/* int8 operators, NHWC, batch 1, as TensorFlow Lite's int8 specification defines them.
 *
 * A tensor's real value is scale * (q - zero_point); weights are symmetric. No kernel allocates,
 * recurses or keeps state. Input, output and scratch overlap only as far as the order allows in
 * which a kernel reads and writes; that order is part of what it promises (compiler/plan_rules.py).
 * Convolutions and products come in families: portable (ek_portable.h), dsp (ek_dsp_kernels.h) and
 * helium (ek_helium_kernels.h).
 */
#ifndef EK_KERNELS_H
#define EK_KERNELS_H

#include <stdint.h>

/* How a window slides over an input. Positions outside the input count as zero points. */
typedef struct {
    int32_t in_height, in_width;
    int32_t out_height, out_width;
    int32_t kernel_height, kernel_width;
    int32_t stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t pad_top, pad_left;
} ek_window;

/* What turns a channel's sum of products into an output: its factor is
 * multiplier * 2^(shift - 31). The input's zero point is folded into the bias, so sums are of
 * weights times inputs as they are stored, and padding is stored as the zero point. */
typedef struct {
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t zero_point;
    int32_t minimum, maximum;
} ek_output;

/* Each input channel gives `multiplier` outputs. Weights are [channels][kernel_height]
 * [kernel_width] or as the kernel says. A plane is one channel with the padding that windows
 * reach. */
typedef struct {
    ek_window window;
    int32_t channels, multiplier;
    int32_t input_zero_point;
    int32_t plane_height, plane_width;
    const int8_t *weights;
    ek_output output;
} ek_depthwise_conv2d_params;

/* Outputs of fully connected layers are scaled with one rounding: sum * multiplier / 2^(32 + shift)
 * (ek_single_rounding.h). Entry `channel & channels` is a channel's: -1 where each has its own, 0
 * where one serves all. */
typedef struct {
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t channels;
    int32_t zero_point;
    int32_t minimum, maximum;
} ek_dense_output;

/* The same with multipliers of more bits: sum * multiplier / 2^shift. */
typedef struct {
    const int64_t *multiplier;
    int32_t shift;
    int32_t channels;
    int32_t zero_point;
    int32_t minimum, maximum;
} ek_dense_wide_output;

/* The same in double precision. */
typedef struct {
    const double *factor;
    int32_t channels;
    int32_t zero_point;
    int32_t minimum, maximum;
} ek_dense_double_output;

/* One addend: (q - zero_point) << 20 is brought to the scale that both share. */
typedef struct {
    int32_t zero_point;
    int32_t multiplier, shift;
} ek_addend;

typedef struct {
    int32_t size;
    ek_addend a, b;
    int32_t output_multiplier, output_shift;
    int32_t output_zero_point;
    int32_t minimum, maximum;
} ek_add_params;

typedef struct {
    ek_window window;
    int32_t channels;
} ek_pool2d_params;

typedef struct {
    int32_t positions, channels;
    int32_t input_zero_point, output_zero_point;
    int32_t multiplier, shift; /* the division by positions is part of them */
} ek_mean_params;

typedef struct {
    int32_t in_height, in_width, channels;
    int32_t top, bottom, left, right;
    int32_t zero_point;
} ek_pad_params;

/* Differences to the largest logit below `smallest` count as nothing; the others become Q5.26. */
typedef struct {
    int32_t rows, classes;
    int32_t multiplier, shift;
    int32_t smallest;
} ek_softmax_params;

void ek_add(const ek_add_params *p, const int8_t *a, const int8_t *b, int8_t *output);
void ek_max_pool2d(const ek_pool2d_params *p, const int8_t *input, int8_t *output);
void ek_average_pool2d(const ek_pool2d_params *p, const int8_t *input, int8_t *output);
void ek_mean(const ek_mean_params *p, const int8_t *input, int8_t *output);
void ek_pad(const ek_pad_params *p, const int8_t *input, int8_t *output);
void ek_softmax(const ek_softmax_params *p, const int8_t *input, int8_t *output);

#endif

/* Operators between codes and other numbers: floats at the ends of a model, places of the largest
 * elements. They promise what ek_kernels.h promises.
 */
#ifndef EK_FLOAT_KERNELS_H
#define EK_FLOAT_KERNELS_H

#include "ek_kernels.h"

/* real = scale * (q - zero_point) */
typedef struct {
    int32_t size;
    int32_t zero_point;
    float scale;
} ek_float_params;

/* Of [outer][count][inner] the place of the first largest element along the middle. */
typedef struct {
    int32_t outer, count, inner;
} ek_arg_max_params;

void ek_quantize_8(const ek_float_params *p, const float *input, int8_t *output);
void ek_quantize_16(const ek_float_params *p, const float *input, int16_t *output);
void ek_dequantize_8(const ek_float_params *p, const int8_t *input, float *output);
void ek_dequantize_16(const ek_float_params *p, const int16_t *input, float *output);
void ek_arg_max_8(const ek_arg_max_params *p, const int8_t *input, int32_t *output);
void ek_arg_max_8_long(const ek_arg_max_params *p, const int8_t *input, int64_t *output);
void ek_arg_max_float(const ek_arg_max_params *p, const float *input, int32_t *output);
void ek_arg_max_float_long(const ek_arg_max_params *p, const float *input, int64_t *output);

#endif

/* A convolution whose window is one pixel and that moves one pixel at a time. */
#ifndef EK_HELIUM_POINTWISE_H
#define EK_HELIUM_POINTWISE_H

#include "ek_helium_matrix.h"
#include "ek_spans.h"

/* scratch: a pixel, in_channels bytes, so that outputs may take the place of inputs. */
EK_INLINE void ek_helium_pointwise(const ek_conv2d_params *p, const int8_t *input, int8_t *output,
                                   void *scratch, ek_rounder round) {
    const ek_helium_matrix matrix = ek_helium_matrix_of(p);
    for (int32_t left = p->window.out_height * p->window.out_width; left > 0; left--) {
        ek_copy_span(input, matrix.taps, scratch);
        ek_helium_multiply(&matrix, scratch, output, round);
        input += matrix.taps;
        output += matrix.channels;
    }
}

#endif

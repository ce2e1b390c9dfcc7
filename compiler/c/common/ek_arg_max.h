/* The walk over what is compared; EK_ELEMENT and EK_INDEX are the types of elements and places. */
#ifndef EK_ARG_MAX_H
#define EK_ARG_MAX_H

#include "ek_compiler.h"
#include "ek_float_kernels.h"

EK_INLINE void ek_arg_max(const ek_arg_max_params *p, const EK_ELEMENT *input, EK_INDEX *output) {
    for (int32_t outer = 0; outer < p->outer; outer++) {
        for (int32_t inner = 0; inner < p->inner; inner++) {
            int32_t best = 0;
            for (int32_t i = 1; i < p->count; i++) {
                best = input[i * p->inner + inner] > input[best * p->inner + inner] ? i : best;
            }
            *output++ = best;
        }
        input += p->count * p->inner;
    }
}

#endif

/* Reductions along any axes: the walk is shared, the step is each kernel's. */
#ifndef EK_REDUCE_H
#define EK_REDUCE_H

#include "ek_code.h"
#include "ek_walk.h"

typedef int32_t (*ek_reduce_step)(int32_t total, ek_code q);

EK_INLINE int32_t ek_reduce(const ek_axes *axes, ek_reduce_step step, int32_t total,
                            const ek_code *input) {
    int32_t index[EK_OUTER] = {0};
    const int32_t count = axes->shape[EK_OUTER], stride = axes->strides[EK_OUTER];
    do {
        const ek_code *const from = input + ek_offset(axes->strides, index);
        for (int32_t i = 0; i < count; i++) {
            total = step(total, from[i * stride]);
        }
    } while (ek_next(axes->shape, index));
    return total;
}

#endif

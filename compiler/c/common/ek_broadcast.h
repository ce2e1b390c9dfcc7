/* Operators on two tensors, element by element: the walk is shared, the step is each kernel's. */
#ifndef EK_BROADCAST_H
#define EK_BROADCAST_H

#include "ek_code.h"
#include "ek_walk.h"

typedef ek_code (*ek_binary_step)(const void *params, ek_code a, ek_code b);

EK_INLINE void ek_each_pair(const ek_broadcast *axes, const void *params, ek_binary_step step,
                            const ek_code *a, const ek_code *b, ek_code *output) {
    int32_t index[EK_OUTER] = {0};
    const int32_t count = axes->shape[EK_OUTER];
    do {
        const ek_code *left = a + ek_offset(axes->a, index);
        const ek_code *right = b + ek_offset(axes->b, index);
        for (int32_t i = 0; i < count; i++) {
            *output++ = step(params, left[i * axes->a[EK_OUTER]], right[i * axes->b[EK_OUTER]]);
        }
    } while (ek_next(axes->shape, index));
}

#endif

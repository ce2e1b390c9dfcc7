/* Walks over the axes of a tensor before its last one, which each kernel walks itself. */
#ifndef EK_WALK_H
#define EK_WALK_H

#include "ek_axes_kernels.h"
#include "ek_compiler.h"

#define EK_OUTER (EK_AXES - 1)

/* The next position; 0 behind the last one. */
EK_INLINE int32_t ek_next(const int32_t *shape, int32_t *index) {
    for (int32_t axis = EK_OUTER - 1; axis >= 0; axis--) {
        index[axis]++;
        if (index[axis] < shape[axis]) {
            return 1;
        }
        index[axis] = 0;
    }
    return 0;
}

EK_INLINE int32_t ek_offset(const int32_t *strides, const int32_t *index) {
    int32_t offset = 0;
    for (int32_t axis = 0; axis < EK_OUTER; axis++) {
        offset += strides[axis] * index[axis];
    }
    return offset;
}

#endif

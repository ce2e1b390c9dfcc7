#include "ek_int16_kernels.h"
#include "ek_interpolate_16.h"

static int32_t largest_of(const int16_t *input, int32_t count) {
    int32_t largest = INT16_MIN;
    for (int32_t i = 0; i < count; i++) {
        largest = input[i] > largest ? input[i] : largest;
    }
    return largest;
}

/* e to a difference of logits, which is not positive. */
static int32_t power(const ek_softmax_16_params *p, int32_t difference) {
    const int32_t place = ek_scale_bounded(difference, p->multiplier, p->shift) + INT16_MAX;
    return ek_interpolate_16(p->exp, ek_clamp(place, INT16_MIN, INT16_MAX));
}

/* How often a positive number can be doubled before it fills 31 bits. */
static int32_t headroom_of(int32_t x) {
    int32_t count = 0;
    while (x < (int32_t)1 << 30) {
        x *= 2;
        count++;
    }
    return count;
}

static void softmax_row(const ek_softmax_16_params *p, const int16_t *input, int16_t *output) {
    const int32_t largest = largest_of(input, p->classes);
    int32_t sum = 0;
    for (int32_t i = 0; i < p->classes; i++) {
        sum += power(p, input[i] - largest);
    }
    const int32_t headroom = headroom_of(sum);
    const uint32_t filled = (uint32_t)sum << headroom;
    const int32_t leading = (int32_t)((filled + ((uint32_t)1 << 13)) >> 14);
    const int32_t place = leading - ((int32_t)1 << 15) - ((int32_t)1 << 16);
    const int32_t inverse =
        ek_interpolate_16(p->reciprocal, ek_clamp(place, INT16_MIN, INT16_MAX));
    const int32_t shift = 30 - headroom;
    for (int32_t i = 0; i < p->classes; i++) {
        const int32_t product = power(p, input[i] - largest) * inverse;
        const int32_t share = (product + ((int32_t)1 << (shift - 1))) >> shift;
        output[i] = (int16_t)ek_clamp(share, 0, INT16_MAX);
    }
}

void ek_softmax_16(const ek_softmax_16_params *p, const int16_t *input, int16_t *output) {
    for (int32_t row = 0; row < p->rows; row++) {
        softmax_row(p, input + row * p->classes, output + row * p->classes);
    }
}

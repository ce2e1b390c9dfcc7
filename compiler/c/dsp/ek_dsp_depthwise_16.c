#include "ek_dsp_16.h"
#include "ek_plane_16.h"

/* The weights of a channel: of each row the first two as halves of a word, and the third. */
typedef struct {
    uint32_t pair[3];
    int32_t third[3];
} weights_3x3;

static weights_3x3 load(const int8_t *from) {
    weights_3x3 w;
    for (int32_t row = 0; row < 3; row++, from += 3) {
        w.pair[row] = (uint32_t)(uint16_t)from[0] | (uint32_t)(uint16_t)from[1] << 16;
        w.third[row] = from[2];
    }
    return w;
}

EK_INLINE int32_t add_row(const int16_t *at, uint32_t pair, int32_t third, int32_t sum) {
    return ek_dot2(ek_load2(at), pair, sum) + at[2] * third;
}

static void outputs(const ek_dsp_depthwise_16_params *p, const int16_t *plane, int32_t channel,
                    int16_t *output) {
    const ek_window *const window = &p->planes.window;
    const weights_3x3 w = load(p->weights + 9 * channel);
    const ek_factor_16 factor = ek_factor_16_of(&p->output, channel);
    const int32_t bias = p->output.bias[channel];
    const int32_t width = p->planes.width, channels = p->planes.channels;
    const int32_t stride = window->stride_width;
    for (int32_t y = 0; y < window->out_height; y++) {
        const int16_t *at = plane + y * window->stride_height * width;
        for (const int16_t *const end = at + window->out_width * stride; at != end; at += stride) {
            int32_t sum = add_row(at, w.pair[0], w.third[0], bias);
            sum = add_row(at + width, w.pair[1], w.third[1], sum);
            sum = add_row(at + 2 * width, w.pair[2], w.third[2], sum);
            *output = ek_finish_dsp_16(sum, &factor);
            output += channels;
        }
    }
}

/* scratch: a plane. */
void ek_dsp_depthwise_16(const ek_dsp_depthwise_16_params *p, const int16_t *input,
                         int16_t *output, void *scratch) {
    const ek_planes_16 *const planes = &p->planes;
    ek_plane_clear_16(planes, scratch);
    for (int32_t channel = 0; channel < planes->channels; channel++) {
        if (channel % planes->multiplier == 0) {
            ek_plane_copy_16(planes, input, channel / planes->multiplier, scratch);
        }
        outputs(p, scratch, channel, output + channel);
    }
}

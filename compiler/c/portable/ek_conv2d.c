#include "ek_patch.h"
#include "ek_rows.h"

static void gather(const ek_conv2d_params *p, const int8_t *input, int32_t index, int8_t *patch) {
    const ek_window *w = &p->window;
    const ek_place at = ek_place_at(w, index / w->out_width, index % w->out_width);
    ek_patch(w, p->in_channels, (int8_t)p->input_zero_point, input, &at, patch);
}

/* scratch: two patches of `taps` bytes. */
void ek_conv2d(const ek_conv2d_params *p, const int8_t *input, int8_t *output, void *scratch) {
    int8_t *const first = scratch;
    int8_t *const second = first + p->taps;
    const int32_t pixels = p->window.out_height * p->window.out_width;
    int32_t index = 0;
    for (; index + 2 <= pixels; index += 2) {
        gather(p, input, index, first);
        gather(p, input, index + 1, second);
        ek_rows_2(p, first, second, output);
        output += 2 * p->out_channels;
    }
    if (index < pixels) {
        gather(p, input, index, first);
        ek_rows_1(p, first, output);
    }
}

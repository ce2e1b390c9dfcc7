#include "ek_patch_16.h"
#include "ek_rows_16.h"

static void gather(const ek_conv2d_16_params *p, const int16_t *input, int32_t index,
                   int16_t *patch) {
    const ek_window *w = &p->window;
    const ek_place at = ek_place_at(w, index / w->out_width, index % w->out_width);
    ek_patch_16(w, p->in_channels, p->in_channels, input, &at, patch);
}

/* scratch: two patches of `taps` numbers. */
void ek_conv2d_16(const ek_conv2d_16_params *p, const int16_t *input, int16_t *output,
                  void *scratch) {
    int16_t *const first = scratch;
    int16_t *const second = first + p->taps;
    const int32_t pixels = p->window.out_height * p->window.out_width;
    int32_t index = 0;
    for (; index + 2 <= pixels; index += 2) {
        gather(p, input, index, first);
        gather(p, input, index + 1, second);
        ek_rows_2_16(p, first, second, output);
        output += 2 * p->out_channels;
    }
    if (index < pixels) {
        gather(p, input, index, first);
        ek_rows_1_16(p, first, output);
    }
}

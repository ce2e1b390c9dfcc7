#include "ek_matrix_16.h"
#include "ek_patch_16.h"

static uint32_t *zeros(int32_t count, uint32_t *column, int32_t stride) {
    for (int32_t i = 0; i < count; i++) {
        *column = 0;
        column += stride;
    }
    return column;
}

/* The window at a place as a column whose words are `stride` apart, where pixels are whole words. */
static void gather_words(const ek_dsp_conv2d_16_params *p, const int16_t *input, const ek_place *at,
                         uint32_t *column, int32_t stride) {
    const ek_window *w = &p->window;
    const int32_t words = p->in_channels / 2;
    const int32_t taps = at->columns.end - at->columns.first;
    const int32_t step = w->dilation_width == 1 ? taps : 1;
    uint32_t *const end = column + p->pairs * stride;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        if (ky < at->rows.first || ky >= at->rows.end) {
            column = zeros(w->kernel_width * words, column, stride);
            continue;
        }
        column = zeros(at->columns.first * words, column, stride);
        for (int32_t kx = at->columns.first; kx < at->columns.end; kx += step) {
            const int16_t *const pixel = input + ek_pixel(w, at, ky, kx) * p->in_channels;
            column = ek_words_16(pixel, step * p->in_channels, column, stride);
        }
        column = zeros((w->kernel_width - at->columns.end) * words, column, stride);
    }
    if (column != end) {
        *column = 0; /* taps are two less than the column holds */
    }
}

/* The same for any number of channels, by way of a patch of 2 * pairs numbers; those after the
 * window's last tap meet weights of 0. */
static void gather_numbers(const ek_dsp_conv2d_16_params *p, const int16_t *input,
                           const ek_place *at, uint32_t *column, int32_t stride, int16_t *patch) {
    ek_patch_16(&p->window, p->in_channels, p->in_channels, input, at, patch);
    ek_words_16(patch, 2 * p->pairs, column, stride);
}

static void gather(const ek_dsp_conv2d_16_params *p, const int16_t *input, int32_t index,
                   uint32_t *columns, uint32_t *column, int32_t stride) {
    const int32_t width = p->window.out_width;
    const ek_place at = ek_place_at(&p->window, index / width, index % width);
    if (p->in_channels % 2 == 0) {
        gather_words(p, input, &at, column, stride);
    } else {
        gather_numbers(p, input, &at, column, stride, (int16_t *)(columns + 4 * p->pairs));
    }
}

/* scratch: 4 columns, 4 * pairs bytes each, then as many bytes again where in_channels is odd. */
void ek_dsp_conv2d_16(const ek_dsp_conv2d_16_params *p, const int16_t *input, int16_t *output,
                      void *scratch) {
    uint32_t *const columns = scratch;
    const int32_t pixels = p->window.out_height * p->window.out_width;
    int32_t index = 0;
    for (; index + 4 <= pixels; index += 4) {
        for (int32_t pixel = 0; pixel < 4; pixel++) {
            gather(p, input, index + pixel, columns, columns + pixel, 4);
        }
        ek_matrix_4_16(p, columns, output);
        output += 4 * p->out_channels;
    }
    for (; index < pixels; index++) {
        gather(p, input, index, columns, columns, 1);
        ek_matrix_1_16(p, columns, output);
        output += p->out_channels;
    }
}

#include "ek_recurrent.h"

#include "ek_fixed16.h"

/* Cells are int16 in bytes of the arena, the low one first. */
static int32_t ek_cell(const int8_t *cells, int32_t unit) {
    return cells[2 * unit + 1] * 256 + (uint8_t)cells[2 * unit];
}

static void ek_set_cell(int8_t *cells, int32_t unit, int32_t value) {
    cells[2 * unit] = (int8_t)(value & 255);
    cells[2 * unit + 1] = (int8_t)(value >> 8);
}

static int32_t ek_sum(const int8_t *x, const int8_t *weights, int32_t size, int32_t sum) {
    for (int32_t i = 0; i < size; i++) {
        sum += x[i] * weights[i];
    }
    return sum;
}

/* What the activation of a gate reads, Q3.12. `state` is absent in the first step, where it is 0. */
static int32_t ek_gate(const ek_lstm_params *p, int32_t gate, int32_t unit, const int8_t *x,
                       const int8_t *state) {
    const int32_t row = gate * p->units + unit;
    const int32_t sum = ek_sum(x, p->weights + row * p->features, p->features, p->bias[row]);
    const int32_t share = ek_bounded16(ek_scale(sum, p->multiplier[gate], p->shift[gate]));
    if (state == 0) {
        return share;
    }
    const int32_t past =
        ek_sum(state, p->state_weights + row * p->units, p->units, p->state_bias[row]);
    return ek_bounded16(share + ek_bounded(ek_scale(past, p->state_multiplier[gate],
                                                    p->state_shift[gate]), -65536, 65536));
}

static int8_t ek_lstm_unit(const ek_lstm_params *p, int32_t unit, const int8_t *x,
                           const int8_t *state, int8_t *cells) {
    const int32_t take = ek_sigmoid16(ek_gate(p, 0, unit, x, state));
    const int32_t keep = ek_sigmoid16(ek_gate(p, 1, unit, x, state));
    const int32_t fresh = ek_tanh16(ek_gate(p, 2, unit, x, state), 3);
    const int32_t shown = ek_sigmoid16(ek_gate(p, 3, unit, x, state));
    const int32_t kept = state == 0 ? 0 : ek_divide_by_power(keep * ek_cell(cells, unit), 15);
    int32_t cell = ek_bounded16(kept + ek_divide_by_power(take * fresh, 30 + p->cell_bits));
    if (p->clip != 0) {
        cell = ek_bounded(cell, -p->clip, p->clip);
    }
    ek_set_cell(cells, unit, cell);
    const int32_t product = shown * ek_tanh16(cell, 15 + p->cell_bits);
    const int32_t scaled = ek_scale(product, p->output_multiplier, p->output_shift);
    const int32_t shifted = ek_bounded(scaled, -255, 255) + p->output_zero_point;
    return (int8_t)ek_bounded(shifted, INT8_MIN, INT8_MAX);
}

void ek_lstm(const ek_lstm_params *p, const int8_t *input, int8_t *output, int8_t *cells) {
    const int8_t *state = 0;
    for (int32_t step = 0; step < p->steps; step++) {
        for (int32_t unit = 0; unit < p->units; unit++) {
            output[unit] = ek_lstm_unit(p, unit, input, state, cells);
        }
        state = output;
        input += p->features;
        output += p->units;
    }
}

#include "ek_fixed16.h"
#include "ek_recurrent.h"
#include "ek_rows.h"

/* Cells are int16 in bytes of the arena, the low one first. */
static int32_t ek_cell(const int8_t *cells, int32_t unit) {
    return cells[2 * unit + 1] * 256 + (uint8_t)cells[2 * unit];
}

static void ek_set_cell(int8_t *cells, int32_t unit, int32_t value) {
    cells[2 * unit] = (int8_t)(value & 255);
    cells[2 * unit + 1] = (int8_t)(value >> 8);
}

/* Products of a unit's gates, as Q3.12, in a little more than 16 bits. */
static void ek_products(const ek_gates *p, int32_t unit, int32_t size, const int8_t *x,
                        int32_t products[4]) {
    const int32_t *const bias = p->bias + 4 * unit;
    int32_t sums[4] = {bias[0], bias[1], bias[2], bias[3]};
    ek_sums_1x4(x, p->weights + 4 * unit * size, size, sums);
    for (int32_t gate = 0; gate < 4; gate++) {
        const int32_t scaled = ek_scale(sums[gate], p->multiplier[gate], p->shift[gate]);
        products[gate] = ek_bounded(scaled, -65536, 65536);
    }
}

/* A unit's output; `state` is absent in the first step, where it is zero. */
static int8_t ek_lstm_unit(const ek_lstm_params *p, int32_t unit, const int8_t *x,
                           const int8_t *state, int8_t *cells) {
    int32_t gates[4], past[4];
    int32_t kept = 0;
    ek_products(&p->of_input, unit, p->features, x, gates);
    for (int32_t gate = 0; gate < 4; gate++) {
        gates[gate] = ek_bounded16(gates[gate]);
    }
    if (state != 0) {
        ek_products(&p->of_state, unit, p->units, state, past);
        for (int32_t gate = 0; gate < 4; gate++) {
            gates[gate] = ek_bounded16(gates[gate] + past[gate]);
        }
        kept = ek_divide_by_power(ek_sigmoid16(gates[1]) * ek_cell(cells, unit), 15);
    }
    const int32_t fresh = ek_sigmoid16(gates[0]) * ek_tanh16(gates[2], 3);
    int32_t cell = ek_bounded16(kept + ek_divide_by_power(fresh, 30 + p->cell_bits));
    if (p->clip != 0) {
        cell = ek_bounded(cell, -p->clip, p->clip);
    }
    ek_set_cell(cells, unit, cell);
    const int32_t shown = ek_sigmoid16(gates[3]) * ek_tanh16(cell, 15 + p->cell_bits);
    const int32_t scaled = ek_scale(shown, p->output_multiplier, p->output_shift);
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

/* Runs the golden vectors: prints the bytes of each output as one line of hexadecimal digits and
 * returns 0 when all equal the expected ones, else 1. The application's own main takes this file's
 * place.
 *
 * A board without stdio defines EK_PORT and brings ek_port.h, which declares ek_putchar and two
 * functions around each invoke for its counters.
 */
#include <stdint.h>

#include "golden.h"
#include "model.h"

#ifdef EK_PORT
#include "ek_port.h"
#else
#include <stdio.h>
#define ek_putchar putchar
#define ek_probe_begin() ((void)0)
#define ek_probe_end() ((void)0)
#endif

static model context;

static void print_hex(const uint8_t *bytes, int32_t count) {
    static const char digits[] = "0123456789abcdef";
    for (int32_t i = 0; i < count; i++) {
        ek_putchar(digits[bytes[i] >> 4]);
        ek_putchar(digits[bytes[i] & 15]);
    }
    ek_putchar('\n');
}

static int differ(const uint8_t *a, const uint8_t *b, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        if (a[i] != b[i]) {
            return 1;
        }
    }
    return 0;
}

int main(void) {
    const int32_t output_bytes = MODEL_OUTPUT_SIZE * (int32_t)sizeof(model_output_type);
    int result = 0;
#ifdef MODEL_STATE_SIZE
    model_init(&context); /* the samples are one recording */
#endif
    for (int32_t sample = 0; sample < GOLDEN_COUNT; sample++) {
        model_input_type *input = model_input(&context);
        for (int32_t i = 0; i < MODEL_INPUT_SIZE; i++) {
            input[i] = golden_inputs[sample][i];
        }
        ek_probe_begin();
        model_invoke(&context);
        ek_probe_end();
        const uint8_t *output = (const uint8_t *)model_output(&context);
        print_hex(output, output_bytes);
        result |= differ(output, (const uint8_t *)golden_outputs[sample], output_bytes);
    }
    return result;
}

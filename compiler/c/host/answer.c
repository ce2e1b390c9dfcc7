/* Takes the place of main.c on a computer: answers the samples of its standard input, one after the
 * other as they lie in memory, on its standard output. */
#include <stdio.h>

#include "model.h"

static model context;

int main(void) {
    int8_t *input = model_input(&context);
    while (fread(input, sizeof *input, MODEL_INPUT_SIZE, stdin) == MODEL_INPUT_SIZE) {
        model_invoke(&context);
        const int8_t *output = model_output(&context);
        if (fwrite(output, sizeof *output, MODEL_OUTPUT_SIZE, stdout) != MODEL_OUTPUT_SIZE) {
            return 1;
        }
    }
    return 0;
}

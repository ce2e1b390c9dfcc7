/* Takes the place of main.c on a computer: answers the samples of its standard input, one after the
 * other as they lie in memory, on its standard output. */
#include <stdio.h>

#include "model.h"

static model context;

int main(void) {
    void *input = model_input(&context);
    const size_t in = sizeof *model_input(&context), out = sizeof *model_output(&context);
#ifdef MODEL_STATE_SIZE
    model_init(&context); /* the samples are one recording */
#endif
    while (fread(input, in, MODEL_INPUT_SIZE, stdin) == MODEL_INPUT_SIZE) {
        model_invoke(&context);
        if (fwrite(model_output(&context), out, MODEL_OUTPUT_SIZE, stdout) != MODEL_OUTPUT_SIZE) {
            return 1;
        }
    }
    return 0;
}

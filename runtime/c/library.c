/* A model as a shared library. All its memory is in the context that the caller brings, so calls
 * with contexts of their own may run at once. Numbers are as they lie in memory. */
#include <stdint.h>
#include <string.h>

#include "model.h"

#define EXPORTED __attribute__((visibility("default")))

#ifndef MODEL_INPUT_SCALE /* numbers that are no codes */
#define MODEL_INPUT_SCALE 1.0f
#define MODEL_INPUT_ZERO_POINT 0
#endif
#ifndef MODEL_OUTPUT_SCALE
#define MODEL_OUTPUT_SCALE 1.0f
#define MODEL_OUTPUT_ZERO_POINT 0
#endif

/* One end of the model: 1 byte an element is int8, 2 are int16, 4 are float. */
typedef struct {
    int32_t elements;
    int32_t element_bytes;
    float scale;
    int32_t zero_point;
} edgekiln_end;

typedef struct {
    int32_t abi;
    int32_t context_bytes;
    edgekiln_end input;
    edgekiln_end output;
} edgekiln_description;

EXPORTED void edgekiln_describe(edgekiln_description *d) {
    d->abi = 1;
    d->context_bytes = (int32_t)sizeof(model);
    d->input.elements = MODEL_INPUT_SIZE;
    d->input.element_bytes = (int32_t)sizeof *model_input(0);
    d->input.scale = MODEL_INPUT_SCALE;
    d->input.zero_point = MODEL_INPUT_ZERO_POINT;
    d->output.elements = MODEL_OUTPUT_SIZE;
    d->output.element_bytes = (int32_t)sizeof *model_output(0);
    d->output.scale = MODEL_OUTPUT_SCALE;
    d->output.zero_point = MODEL_OUTPUT_ZERO_POINT;
}

/* Answers `samples` inputs, one after the other. `context` needs no initialisation; it is aligned
 * as malloc aligns. */
EXPORTED void edgekiln_run(void *context, const void *inputs, void *outputs, int32_t samples) {
    model *m = context;
    const size_t in = MODEL_INPUT_SIZE * sizeof *model_input(m);
    const size_t out = MODEL_OUTPUT_SIZE * sizeof *model_output(m);
    for (int32_t sample = 0; sample < samples; sample++) {
        memcpy(model_input(m), (const char *)inputs + (size_t)sample * in, in);
        model_invoke(m);
        memcpy((char *)outputs + (size_t)sample * out, model_output(m), out);
    }
}

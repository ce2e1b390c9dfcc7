#include "ek_model.h"

#include "ek_bytes.h"

const uint8_t *ek_model_run(model *context, const uint8_t *image, uint32_t index,
                            const uint8_t *input, uint32_t input_bytes, uint32_t output_bytes) {
    if (input_bytes != MODEL_INPUT_SIZE * sizeof(model_input_type) ||
        output_bytes != MODEL_OUTPUT_SIZE * sizeof(model_output_type)) {
        return 0;
    }
    const void *used = context->image;
    model_use(context, image);
#ifdef MODEL_STATE_SIZE
    if (index == 0u) { /* the vectors are one recording */
        model_init(context);
    }
#else
    (void)index;
#endif
    ek_copy((uint8_t *)model_input(context), input, input_bytes);
    model_invoke(context);
    model_use(context, used);
    return (const uint8_t *)model_output(context);
}

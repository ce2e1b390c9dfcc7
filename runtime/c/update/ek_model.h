/* The generated model as ek_port.run needs it. */
#ifndef EK_MODEL_H
#define EK_MODEL_H

#include <stdint.h>

#include "model.h"

/* The output of `image` for an input of golden vectors, valid until the context's next use; null where
 * the generated code takes no such input. The context keeps its image. */
const uint8_t *ek_model_run(model *context, const uint8_t *image, uint32_t index,
                            const uint8_t *input, uint32_t input_bytes, uint32_t output_bytes);

#endif

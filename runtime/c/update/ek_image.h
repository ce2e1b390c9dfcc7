/* An image: constants of a generated model, and golden vectors that prove them on the device.
 *
 *   0  8 "EKIMAGE1"    16  4 golden vectors            28  4 zero
 *   8  4 its bytes     20  4 bytes of an input         32 .. what the generated code reads
 *  12  4 offset of     24  4 bytes of an output
 *        the vectors
 *
 * The vectors are all inputs and then all outputs. Numbers have their lowest byte first. */
#ifndef EK_IMAGE_H
#define EK_IMAGE_H

#include <stdint.h>

typedef struct {
    uint32_t count, input_bytes, output_bytes;
    const uint8_t *inputs, *outputs;
} ek_golden;

/* Whether `image`, of so many bytes, has golden vectors that lie within it. */
int ek_image_golden(const uint8_t *image, uint32_t bytes, ek_golden *golden);

#endif

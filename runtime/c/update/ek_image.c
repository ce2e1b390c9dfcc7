#include "ek_image.h"

#include "ek_bytes.h"

int ek_image_golden(const uint8_t *image, uint32_t bytes, ek_golden *golden) {
    static const uint8_t magic[8] = {'E', 'K', 'I', 'M', 'A', 'G', 'E', '1'};
    if (bytes < 32u || !ek_same(image, magic, sizeof magic) || ek_get_32(image + 8) != bytes) {
        return 0;
    }
    const uint32_t offset = ek_get_32(image + 12);
    golden->count = ek_get_32(image + 16);
    golden->input_bytes = ek_get_32(image + 20);
    golden->output_bytes = ek_get_32(image + 24);
    if (golden->count == 0u || golden->input_bytes == 0u || golden->output_bytes == 0u ||
        offset > bytes || golden->input_bytes > bytes || golden->output_bytes > bytes) {
        return 0;
    }
    const uint64_t pair = (uint64_t)golden->input_bytes + golden->output_bytes;
    if ((bytes - offset) / pair < golden->count) {
        return 0;
    }
    golden->inputs = image + offset;
    golden->outputs = golden->inputs + (golden->count * golden->input_bytes);
    return 1;
}

/* Hostile updates, whose signature holds: heads of any bytes, then whole updates with bytes changed,
 * on flash that ends where it ends. Built with sanitizers; arguments: a file of a public key
 * and an update that it signed, how many heads, how many updates. Prints how often each reason was given. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ek_image.h"
#include "ek_update.h"

#define PAGE 512u
#define SLOT 8192u

static uint8_t *areas[4]; /* each allocated alone, so that nothing beyond its end is readable */
static uint8_t *file, *original;
static uint32_t file_bytes;
static uint64_t state = 88172645463325252u;
static ek_update update;

static uint32_t any(uint32_t below) { /* xorshift */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % below;
}

static uint32_t size_of(ek_area area) {
    return area < EK_SLOT_A ? PAGE : SLOT;
}

static void check(int fine) {
    if (!fine) {
        abort();
    }
}

static int flash_read(void *unused, ek_area area, uint32_t offset, uint8_t *to, uint32_t bytes) {
    (void)unused;
    check(offset <= size_of(area) && bytes <= size_of(area) - offset);
    memcpy(to, areas[area] + offset, bytes);
    return any(2000) == 0u;
}

static int flash_erase(void *unused, ek_area area, uint32_t offset) {
    (void)unused;
    check(offset % PAGE == 0u && offset < size_of(area));
    memset(areas[area] + offset, 0xFF, PAGE);
    return any(500) == 0u;
}

static int flash_program(void *unused, ek_area area, uint32_t offset, const uint8_t *from,
                         uint32_t bytes) {
    (void)unused;
    check(offset % 32u == 0u && bytes % 32u == 0u);
    check(offset <= size_of(area) && bytes <= size_of(area) - offset);
    for (uint32_t i = 0; i < bytes; i++) {
        areas[area][offset + i] &= from[i];
    }
    return any(500) == 0u;
}

static const uint8_t *flash_address(void *unused, ek_area area) {
    (void)unused;
    return areas[area];
}

static int fetch(void *unused, uint32_t offset, uint8_t *to, uint32_t bytes) {
    (void)unused;
    check(bytes <= EK_BLOCK_BYTES || bytes == EK_HEAD_BYTES);
    if (offset > file_bytes || bytes > file_bytes - offset || any(300) == 0u) {
        return 1;
    }
    memcpy(to, file + offset, bytes);
    return 0;
}

/* Looks at every byte that it was given. */
static const uint8_t *run(void *unused, const uint8_t *image, uint32_t index,
                          const uint8_t *input, uint32_t input_bytes, uint32_t output_bytes) {
    static uint8_t output[SLOT];
    volatile uint8_t sum = image[0];
    (void)unused;
    (void)index;
    for (uint32_t i = 0; i < input_bytes; i++) {
        sum = (uint8_t)(sum ^ input[i]);
    }
    check(output_bytes <= SLOT);
    return any(8) == 0u ? 0 : output;
}

static int verify(void *unused, const uint8_t key[EK_KEY_BYTES], const uint8_t *message,
                  uint32_t bytes, const uint8_t signature[EK_SIGNATURE_BYTES]) {
    (void)unused;
    (void)message;
    (void)bytes;
    return key[0] == signature[0] || any(8) != 0u;
}

static const ek_port port = {
    .flash = {PAGE, SLOT, flash_read, flash_erase, flash_program, flash_address},
    .fetch = fetch,
    .run = run,
    .verify = verify,
};

/* Ids and structure are those of the file as it is. */
static uint8_t keys[1][EK_KEY_BYTES];
static ek_device device = {.keys = (const uint8_t(*)[EK_KEY_BYTES])keys,
                           .key_count = 1,
                           .factory_counter = 1,
                           .self_tests = 2,
                           .trial_boots = 2};

/* Numbers at the edges are more likely to do harm than any others. */
static void spoil(uint8_t *bytes, uint32_t count) {
    static const uint32_t edges[] = {0, 1, 31, 32, 255, 256, 1024, 0x7FFFFFFF, 0x80000000,
                                     0xFFFFFFE0, 0xFFFFFFFF, SLOT, SLOT - 32};
    for (uint32_t i = any(6); i != 0u; i--) {
        if (any(2) == 0u && count >= 24u) {
            const uint32_t edge = edges[any(sizeof edges / sizeof *edges)] + any(2) * any(64) * 32u;
            memcpy(bytes + (4u * any(6)), &edge, 4);
        } else {
            bytes[any(count)] = (uint8_t)any(256);
        }
    }
}

int main(int argc, char **argv) {
    static uint32_t reasons[32];
    check(argc == 4);
    FILE *source = fopen(argv[1], "rb");
    check(source != 0);
    original = malloc(1u << 16);
    check(fread(keys[0], 1, EK_KEY_BYTES, source) == EK_KEY_BYTES);
    const uint32_t whole = (uint32_t)fread(original, 1, 1u << 16, source);
    fclose(source);
    check(whole > EK_HEAD_BYTES);
    for (uint32_t area = 0; area < 4u; area++) {
        areas[area] = calloc(1, size_of((ek_area)area));
    }
    device.vendor_id = original + 32;
    device.class_id = original + 48;
    device.structure = original + 64;

    for (uint32_t i = (uint32_t)atoi(argv[2]); i != 0u; i--) {
        uint8_t *head = malloc(EK_HEAD_BYTES); /* alone, too */
        ek_head found;
        memcpy(head, original, EK_HEAD_BYTES);
        spoil(head, any(4) == 0u ? EK_HEAD_BYTES : 24u);
        reasons[ek_head_check(&port, &device, 1, head, &found)]++;
        const uint32_t bytes = 32u + any(64);
        uint8_t *image = malloc(bytes);
        ek_golden golden;
        memcpy(image, "EKIMAGE1", 8);
        for (uint32_t at = 8; at < bytes; at++) {
            image[at] = (uint8_t)(any(4) == 0u ? any(256) : 0u);
        }
        memcpy(image + 8, &bytes, 4);
        spoil(image + 8, 24);
        if (ek_image_golden(image, bytes, &golden)) {
            const uint64_t end = (uint64_t)golden.count * golden.output_bytes;
            check(golden.outputs + end <= image + bytes && golden.inputs >= image);
        }
        free(image);
        free(head);
    }
    for (uint32_t i = (uint32_t)atoi(argv[3]); i != 0u; i--) {
        file_bytes = whole - (any(4) == 0u ? any(whole) : 0u);
        file = malloc(file_bytes);
        memcpy(file, original, file_bytes);
        spoil(file, file_bytes);
        ek_update_boot(&update, &port, &device);
        reasons[ek_update_offer(&update)]++;
        ek_progress progress = EK_MORE;
        for (uint32_t steps = 0; steps < 100u && progress <= EK_WAIT && progress != EK_NOTHING;
             steps++) {
            progress = ek_update_step(&update);
        }
        if (any(2) == 0u) {
            ek_update_boot(&update, &port, &device);
            (void)(any(2) == 0u ? ek_update_confirm(&update) : ek_update_reject(&update));
        }
        if (any(16) == 0u) { /* flash that was never written, or is worn out */
            const ek_area area = (ek_area)any(4);
            areas[area][any(size_of(area))] ^= (uint8_t)(1u << any(8));
        }
        free(file);
    }
    for (uint32_t reason = 0; reason < 32u; reason++) {
        printf("%u ", reasons[reason]);
    }
    return 0;
}

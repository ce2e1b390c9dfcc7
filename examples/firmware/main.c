/* A firmware whose model can be updated: what a device does at a start, when it hears of an update,
 * and while it works. Only ram_flash.c and fetch stand for a board: replace them with your own.
 *
 * For an emulator EK_PORT brings ek_putchar, as in the generated main.c. */
#include <stdint.h>

#include "ek_ed25519.h"
#include "ek_model.h"
#include "ek_this_device.h"
#include "ek_update.h"
#include "ram_flash.h"
#include "update_file.h"

#ifdef EK_PORT
#include "ek_port.h"
#else
#include <stdio.h>
#define ek_putchar putchar
#endif

static model context; /* of the application's own answers, and of self-tests between them */
static ek_update update;

/* The update is a file here; a device asks its radio, and says no until the bytes are there. */
static int fetch(void *unused, uint32_t offset, uint8_t *to, uint32_t bytes) {
    (void)unused;
    if (offset > update_file_bytes || bytes > update_file_bytes - offset) {
        return 1;
    }
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = update_file[offset + i];
    }
    return 0;
}

static const uint8_t *run(void *unused, const uint8_t *image, uint32_t index,
                          const uint8_t *input, uint32_t input_bytes, uint32_t output_bytes) {
    (void)unused;
    return ek_model_run(&context, image, index, input, input_bytes, output_bytes);
}

/* Where the chip has Ed25519 of its own, this calls it, and ek_ed25519.c is not linked. */
static int verify(void *unused, const uint8_t key[EK_KEY_BYTES], const uint8_t *message,
                  uint32_t bytes, const uint8_t signature[EK_SIGNATURE_BYTES]) {
    (void)unused;
    return ek_ed25519_verify(key, message, bytes, signature);
}

static const ek_port port = {
    .flash = {.page_bytes = RAM_FLASH_PAGE,
              .slot_bytes = RAM_FLASH_SLOT,
              .read = ram_flash_read,
              .erase = ram_flash_erase,
              .program = ram_flash_program,
              .address = ram_flash_address},
    .fetch = fetch,
    .run = run,
    .verify = verify,
};

static void print(const char *text) {
    while (*text != '\0') {
        ek_putchar(*text++);
    }
}

static void print_number(uint32_t number) {
    if (number >= 10u) {
        print_number(number / 10u);
    }
    ek_putchar((int)('0' + (number % 10u)));
}

/* Answers one sample with the model that the library chose. */
static void work(const char *when) {
    model_use(&context, ek_update_image(&update));
    model_input_type *input = model_input(&context);
    for (int32_t i = 0; i < MODEL_INPUT_SIZE; i++) {
        input[i] = (model_input_type)(i % 100);
    }
    model_invoke(&context);
    const model_output_type *output = model_output(&context);
    int32_t best = 0;
    for (int32_t i = 1; i < MODEL_OUTPUT_SIZE; i++) {
        best = output[i] > output[best] ? i : best;
    }
    print(when);
    print(update.running == EK_FACTORY ? ": factory model" : ": model from flash");
    print(update.on_trial ? " on trial, class " : ", class ");
    print_number((uint32_t)best);
    ek_putchar('\n');
}

int main(void) {
    ek_update_boot(&update, &port, &ek_this_device);
    work("start");

    ek_reason reason = ek_update_offer(&update);
    ek_progress progress = EK_MORE;
    while (reason == EK_FINE && progress == EK_MORE) { /* a real one works between two steps */
        progress = ek_update_step(&update);
    }
    if (reason != EK_FINE || progress != EK_READY) {
        print("not taken, reason ");
        print_number(reason != EK_FINE ? (uint32_t)reason : update.record.reason);
        ek_putchar('\n');
        return 1;
    }

    ek_update_boot(&update, &port, &ek_this_device); /* a real one resets */
    work("trial");
    reason = ek_update_confirm(&update); /* once it has worked well for long enough */
    ek_update_boot(&update, &port, &ek_this_device);
    work("after");
    return reason != EK_FINE;
}

/* What a board lives through, on an emulated core: each update of updates.c is offered to a device
 * that keeps its flash, then power goes at flash operation after flash operation of one update.
 *
 * Prints a line for each update: reason, outcome, where the model runs from, its answer in
 * hexadecimal digits; then "cuts" and how many there were, or what went wrong. */
#include <stdint.h>

#include "ek_ed25519.h"
#include "ek_model.h"
#include "ek_port.h"
#include "ek_this_device.h"
#include "ek_update.h"
#include "updates.h"

#define PAGE 1024u
#define SLOT (32u * PAGE)

static model context;
static ek_update update;
static uint64_t areas[4][SLOT / 8u];
static uint32_t operations, cut_at, noise = 1;
static int dead;
static const uint8_t *file;
static uint32_t file_bytes;

static uint8_t *bytes_of(ek_area area) {
    return (uint8_t *)areas[area];
}

/* Of a linear congruential generator. */
static uint8_t any(void) {
    noise = (noise * 1664525u) + 1013904223u;
    return (uint8_t)(noise >> 24);
}

static int goes(void) {
    operations++;
    dead = operations == cut_at;
    return dead;
}

static int flash_read(void *unused, ek_area area, uint32_t offset, uint8_t *to, uint32_t bytes) {
    (void)unused;
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = bytes_of(area)[offset + i];
    }
    return dead;
}

static int flash_erase(void *unused, ek_area area, uint32_t offset) {
    (void)unused;
    const int torn = dead || goes();
    for (uint32_t i = 0; i < PAGE && (!torn || operations == cut_at); i++) {
        bytes_of(area)[offset + i] |= torn ? any() : 0xFF;
    }
    cut_at = torn ? 0 : cut_at;
    return torn;
}

static int flash_program(void *unused, ek_area area, uint32_t offset, const uint8_t *from,
                         uint32_t bytes) {
    (void)unused;
    const int torn = dead || goes();
    for (uint32_t i = 0; i < bytes && (!torn || operations == cut_at); i++) {
        bytes_of(area)[offset + i] &= torn ? (uint8_t)(from[i] | any()) : from[i];
    }
    cut_at = torn ? 0 : cut_at;
    return torn;
}

static const uint8_t *flash_address(void *unused, ek_area area) {
    (void)unused;
    return bytes_of(area);
}

static int fetch(void *unused, uint32_t offset, uint8_t *to, uint32_t bytes) {
    (void)unused;
    if (dead || offset > file_bytes || bytes > file_bytes - offset) {
        return 1;
    }
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = file[offset + i];
    }
    return 0;
}

static const uint8_t *run(void *unused, const uint8_t *image, uint32_t index,
                          const uint8_t *input, uint32_t input_bytes, uint32_t output_bytes) {
    (void)unused;
    return ek_model_run(&context, image, index, input, input_bytes, output_bytes);
}

static int verify(void *unused, const uint8_t key[EK_KEY_BYTES], const uint8_t *message,
                  uint32_t bytes, const uint8_t signature[EK_SIGNATURE_BYTES]) {
    (void)unused;
    return ek_ed25519_verify(key, message, bytes, signature);
}

static const ek_port port = {
    .flash = {PAGE, SLOT, flash_read, flash_erase, flash_program, flash_address},
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

static void boot(void) {
    dead = 0;
    ek_update_boot(&update, &port, &ek_this_device);
}

/* Offers the file until it is confirmed or refused, or power is gone. */
static ek_reason live(void) {
    for (uint32_t round = 0; round < 4u && !dead; round++) {
        if (update.on_trial) {
            return ek_update_confirm(&update);
        }
        const ek_reason reason = ek_update_offer(&update);
        if (reason != EK_FINE) {
            return reason;
        }
        ek_progress progress = EK_MORE;
        while (progress == EK_MORE && !dead) {
            progress = ek_update_step(&update);
        }
        if (progress == EK_ENDED) {
            return (ek_reason)update.record.reason;
        }
        if (!dead) {
            boot();
        }
    }
    return EK_LATER;
}

static void print_answer(void) {
    static const char digits[] = "0123456789abcdef";
    model_use(&context, ek_update_image(&update));
    model_input_type *input = model_input(&context);
    for (int32_t i = 0; i < MODEL_INPUT_SIZE; i++) {
        input[i] = (model_input_type)(i % 100);
    }
    model_invoke(&context);
    const uint8_t *output = (const uint8_t *)model_output(&context);
    for (uint32_t i = 0; i < MODEL_OUTPUT_SIZE * sizeof(model_output_type); i++) {
        ek_putchar(digits[output[i] >> 4]);
        ek_putchar(digits[output[i] & 15]);
    }
    ek_putchar('\n');
}

static void offer(const uint8_t *bytes, uint32_t count) {
    file = bytes;
    file_bytes = count;
}

static void clear(void) {
    for (uint32_t area = 0; area < 4u; area++) {
        for (uint32_t i = 0; i < SLOT; i++) {
            bytes_of((ek_area)area)[i] = any();
        }
    }
}

enum { WELL, WRONG, NO_CUT };

/* From a device that runs update 0 to one that runs update 1, power gone once. */
static int survives(uint32_t cut) {
    clear();
    boot();
    offer(updates[0], update_bytes[0]);
    (void)live();
    offer(updates[1], update_bytes[1]);
    cut_at = operations + cut;
    (void)live();
    if (cut_at != 0u) {
        return NO_CUT;
    }
    boot();
    if (update.running == EK_FACTORY) {
        return WRONG;
    }
    (void)live();
    boot();
    return update.record.outcome == EK_COMMITTED && update.record.floor == 2u ? WELL : WRONG;
}

int main(void) {
    ek_probe_begin();
    clear();
    boot();
    print_answer();
    for (uint32_t i = 0; i < UPDATES; i++) {
        offer(updates[i], update_bytes[i]);
        const ek_reason reason = live();
        boot();
        print_number((uint32_t)reason);
        ek_putchar(' ');
        print_number(update.record.outcome);
        ek_putchar(' ');
        print_number((uint32_t)update.running);
        ek_putchar(' ');
        print_answer();
    }
    ek_probe_end();
    uint32_t cuts = 0;
    int end = survives(1);
    while (end == WELL) {
        cuts++;
        end = survives(cuts + 1u);
    }
    print(end == WRONG ? "wrong after " : "cuts ");
    print_number(cuts);
    ek_putchar('\n');
    return end == WRONG;
}

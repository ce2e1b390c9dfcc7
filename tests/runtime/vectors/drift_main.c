/* Runs the observations of drift_vectors.h. Prints, as hexadecimal digits, the bins of each; after
 * each `VECTORS_EVERY` observations also the state, behind a byte that says whether an alarm is on.
 * Returns 0 when nothing is amiss. */
#include <stddef.h>

#include "drift_reference.h"
#include "drift_vectors.h"

#ifdef EK_PORT
#include "ek_port.h"
#else
#include <stdio.h>
#define ek_putchar putchar
#define ek_probe_begin() ((void)0)
#define ek_probe_end() ((void)0)
#endif

static uint8_t bins[DRIFT_ROWS];
static int alarm;

/* What the emulator counts the instructions of. */
void model_invoke(int32_t at);
__attribute__((noinline)) void model_invoke(int32_t at) {
    for (int32_t row = 0; row < DRIFT_ROWS; row++) {
        bins[row] = ek_drift_bin(&drift_features[row], vector_values[at][row], vector_u[at][row]);
    }
    alarm = ek_drift_observe(&drift_detector, bins, vector_answers[at]);
}

static void print(const void *data, uint32_t count) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;
    for (uint32_t i = 0; i < count; i++) {
        ek_putchar(digits[bytes[i] >> 4]);
        ek_putchar(digits[bytes[i] & 15]);
    }
}

__attribute__((noinline)) static int run(void) {
    if (ek_drift_start(&drift_detector)) {
        return 1; /* memory that was never started belongs to no model */
    }
    for (int32_t at = 0; at < VECTORS; at++) {
        ek_probe_begin();
        model_invoke(at);
        ek_probe_end();
        print(bins, sizeof bins);
        if ((at + 1) % VECTORS_EVERY == 0) {
            const uint8_t on = (uint8_t)alarm;
            print(&on, 1);
            print(&drift_memory.head, offsetof(ek_drift_head, class_bounds));
            for (int32_t row = 0; row < DRIFT_ROWS; row++) {
                print(&drift_memory.rows[row], offsetof(ek_drift_row, bounds));
            }
            print(drift_memory.classes, sizeof drift_memory.classes);
        }
        ek_putchar('\n');
    }
    return !ek_drift_start(&drift_detector);
}

int main(void) {
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000; /* CPACR: the floating-point unit */
    __asm__ volatile("dsb\nisb");
#endif
    return run();
}

/* Output, counters and start-up that are the same on every core.
 *
 * After main the deepest stack use between ek_probe_begin and ek_probe_end is printed as a line
 * "stack BYTES", then the machine exits with main's result.
 */
#include "harness.h"

#include <stddef.h>

#include "ek_port.h"

#define PAINT 0xC5C5C5C5u

enum { FAULT = 70 };
enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20 };
enum { ADP_STOPPED_APPLICATION_EXIT = 0x20026 };

int main(void);

uint32_t *ek_stack_base;
static size_t deepest;

/* One call for each line: a trap costs more than the line's characters. */
int ek_putchar(int character) {
    static char line[128];
    static size_t used;
    line[used++] = (char)character;
    if (character == '\n' || used == sizeof line - 1) {
        line[used] = '\0';
        harness_semihost(SYS_WRITE0, line);
        used = 0;
    }
    return character;
}

__attribute__((noinline)) void ek_probe_end(void) {
    const uint32_t *word = ek_stack_limit;
    while (word < ek_stack_base && *word == PAINT) {
        word++;
    }
    const size_t depth = (size_t)(ek_stack_base - word) * sizeof *word;
    deepest = depth > deepest ? depth : deepest;
}

/* What a compiler may call without being asked to: a target without a C library needs them, one that
 * has a library takes its own. */
__attribute__((weak)) void *memset(void *to, int value, size_t count) {
    unsigned char *bytes = to;
    while (count-- != 0) {
        *bytes++ = (unsigned char)value;
    }
    return to;
}

__attribute__((weak)) void *memcpy(void *to, const void *from, size_t count) {
    unsigned char *bytes = to;
    const unsigned char *source = from;
    while (count-- != 0) {
        *bytes++ = *source++;
    }
    return to;
}

static void print(const char *text) {
    while (*text != '\0') {
        ek_putchar(*text++);
    }
}

static void print_stack(void) {
    char digits[12];
    size_t first = sizeof digits - 1;
    digits[first] = '\0';
    size_t rest = deepest;
    do {
        digits[--first] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    print("stack ");
    print(digits + first);
    ek_putchar('\n');
}

static void leave(uint32_t code) {
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, code};
    harness_semihost(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

void harness_start(void) {
    const uint32_t *from = ek_data_load;
    for (uint32_t *to = ek_data_start; to < ek_data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = ek_bss_start; to < ek_bss_end;) {
        *to++ = 0;
    }
    const int result = main();
    print_stack();
    leave((uint32_t)result);
}

void harness_fault(void) {
    leave(FAULT);
}

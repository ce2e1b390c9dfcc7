/* Start-up, output and exit of a bare Cortex-M image under QEMU, through Arm semihosting.
 *
 * After main the deepest stack use between ek_probe_begin and ek_probe_end is printed as a line
 * "stack BYTES", then the machine exits with main's result.
 */
#include <stddef.h>
#include <stdint.h>

#include "ek_port.h"

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20 };
enum { ADP_STOPPED_APPLICATION_EXIT = 0x20026 };
enum { FAULT = 70 };

#define PAINT 0xC5C5C5C5u

extern uint32_t ek_data_load[], ek_data_start[], ek_data_end[], ek_bss_start[], ek_bss_end[];
extern uint32_t ek_stack_limit[], ek_stack_top[];
int main(void);
void ek_reset(void);

uint32_t *ek_stack_base; /* the stack pointer at ek_probe_begin */
static size_t deepest;

static void semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void leave(uint32_t code) {
    const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, code};
    semihost(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

/* One semihosting call for each line: a trap costs more than the line's characters. */
int ek_putchar(int character) {
    static char line[128];
    static size_t used;
    line[used++] = (char)character;
    if (character == '\n' || used == sizeof line - 1) {
        line[used] = '\0';
        semihost(SYS_WRITE0, line);
        used = 0;
    }
    return character;
}

/* Assembly, because a compiled function could save registers where it paints. */
__attribute__((naked)) void ek_probe_begin(void) {
    __asm__ volatile(
        "ldr r0, =ek_stack_limit\n"
        "ldr r1, =0xC5C5C5C5\n"
        "1: cmp r0, sp\n"
        "bhs 2f\n"
        "str r1, [r0], #4\n"
        "b 1b\n"
        "2: ldr r1, =ek_stack_base\n"
        "mov r0, sp\n"
        "str r0, [r1]\n"
        "bx lr\n"
        ".ltorg\n");
}

__attribute__((noinline)) void ek_probe_end(void) {
    const uint32_t *word = ek_stack_limit;
    while (word < ek_stack_base && *word == PAINT) {
        word++;
    }
    const size_t depth = (size_t)(ek_stack_base - word) * sizeof *word;
    deepest = depth > deepest ? depth : deepest;
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

void ek_reset(void) {
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

static void fault(void) {
    leave(FAULT);
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler handlers[15];
} vectors = {ek_stack_top,
             {ek_reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault,
              fault}};

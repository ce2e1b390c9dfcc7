/* Start-up and semihosting of a bare RV32 image. */
#include "harness.h"

/* The call is told from a breakpoint by the instructions around it, none of them compressed and
 * all of them in one page. */
void harness_semihost(uint32_t operation, const void *argument) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(
        ".option push\n"
        ".option norvc\n"
        ".balign 16\n"
        "slli x0, x0, 0x1f\n"
        "ebreak\n"
        "srai x0, x0, 7\n"
        ".option pop\n"
        : "+r"(a0)
        : "r"(a1)
        : "memory");
}

/* Assembly, because a compiled function could save registers where it paints. */
__attribute__((naked)) void ek_probe_begin(void) {
    __asm__ volatile(
        "la t0, ek_stack_limit\n"
        "li t1, 0xC5C5C5C5\n"
        "1: bgeu t0, sp, 2f\n"
        "sw t1, 0(t0)\n"
        "addi t0, t0, 4\n"
        "j 1b\n"
        "2: la t1, ek_stack_base\n"
        "sw sp, 0(t1)\n"
        "ret\n");
}

/* The first instruction of the image; every trap is a fault. */
__attribute__((naked, section(".vectors"), used)) void ek_reset(void) {
    __asm__ volatile(
        "la sp, ek_stack_top\n"
        "la t0, ek_trap\n"
        "csrw mtvec, t0\n"
        "j harness_start\n"
        ".balign 4\n"
        "ek_trap: la sp, ek_stack_top\n"
        "j harness_fault\n");
}

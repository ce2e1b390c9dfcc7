/* Start-up and Arm semihosting of a bare Cortex-M image; instructions of ARMv6-M alone but where
 * the core has vectors. */
#include "harness.h"

void harness_semihost(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

/* Assembly, because a compiled function could save registers where it paints. */
__attribute__((naked)) void ek_probe_begin(void) {
    __asm__ volatile(
        ".syntax unified\n"
        "ldr r0, =ek_stack_limit\n"
        "ldr r1, =0xC5C5C5C5\n"
        "mov r2, sp\n"
        "1: cmp r0, r2\n"
        "bhs 2f\n"
        "str r1, [r0]\n"
        "adds r0, #4\n"
        "b 1b\n"
        "2: ldr r1, =ek_stack_base\n"
        "str r2, [r1]\n"
        "bx lr\n"
        ".ltorg\n");
}

/* Assembly, because a compiled function could use vectors before they are switched on: full access
 * to coprocessors 10 and 11 in CPACR. */
__attribute__((naked)) static void ek_reset(void) {
    __asm__ volatile(
        ".syntax unified\n"
#if defined(__ARM_FEATURE_MVE)
        "ldr r0, =0xE000ED88\n"
        "ldr r1, [r0]\n"
        "orr r1, r1, #0xF00000\n"
        "str r1, [r0]\n"
        "dsb\n"
        "isb\n"
#endif
        "ldr r0, =harness_start\n"
        "bx r0\n"
        ".ltorg\n");
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler handlers[15];
} vectors = {ek_stack_top,
             {ek_reset, harness_fault, harness_fault, harness_fault, harness_fault,
              harness_fault, 0, 0, 0, 0, harness_fault, harness_fault, 0, harness_fault,
              harness_fault}};

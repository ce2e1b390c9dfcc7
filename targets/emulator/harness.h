/* Between what is the same on every core (harness.c) and what starts one (harness_CORE.c). */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdint.h>

/* The linker script's. */
extern uint32_t ek_data_load[], ek_data_start[], ek_data_end[], ek_bss_start[], ek_bss_end[];
extern uint32_t ek_stack_limit[], ek_stack_top[];

/* The stack pointer at ek_probe_begin. */
extern uint32_t *ek_stack_base;

enum { FAULT = 70 };

/* Of the core: writes a string that ends with '\0', leaves the emulator. */
void harness_print(const char *text);
void harness_leave(uint32_t code);

/* Of every core: what to do once there is a stack, and when the core faults. */
void harness_start(void);
void harness_fault(void);

#endif

/* Between what is the same on every core (harness.c) and what starts one (harness_CORE.c). */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdint.h>

/* The linker script's. */
extern uint32_t ek_data_load[], ek_data_start[], ek_data_end[], ek_bss_start[], ek_bss_end[];
extern uint32_t ek_stack_limit[], ek_stack_top[];

/* The stack pointer at ek_probe_begin. */
extern uint32_t *ek_stack_base;

/* Of the core: the debugger's call `operation` (Arm, "Semihosting for AArch32 and AArch64"). */
void harness_semihost(uint32_t operation, const void *argument);

/* Of every core: what to do once there is a stack, and when the core faults. */
void harness_start(void);
void harness_fault(void);

#endif

/* QEMU TCG plugin: instructions executed between two addresses.
 *
 * Arguments: begin=ADDRESS (the instruction there is counted), end=ADDRESS (not counted),
 * out=FILE, profile=FILE, caller_end=ADDRESS, calls=FILE. Writes to the first one decimal number a
 * line for each region, in order; to the second, where it is given, "ADDRESS COUNT" for each
 * instruction of the whole run; to the last a line for each region: the count at the return of each
 * call that was made from the function between `begin` and `caller_end`.
 *
 * QEMU packages bring no plugin header, so the few functions of plugin API version 1 that are
 * used here are declared from QEMU's documentation; QEMU >= 4.2 provides them to a plugin that
 * reports version 1.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

typedef void (*translate_callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*execute_callback)(unsigned int cpu, void *data);
typedef void (*exit_callback)(qemu_plugin_id_t id, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translate_callback callback);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
                                            execute_callback callback, int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation,
                                                void *counter, uint64_t amount);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, exit_callback callback, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc,
                               char **argv);

static uint64_t executed, started;
static uint64_t begin_address, end_address;
static uint64_t caller_end, seen; /* `executed` at the caller's last instruction */
static bool inside;
static FILE *out, *profile, *calls;

/* From model_invoke's last instruction to `end`: itself, a nop that may align its caller, and one
 * branch there. */
#define LEAVING 3

/* One counter for each half word of 8 MiB of code; addresses beyond the first 8 MiB fold. */
#define SLOTS (1u << 22)
static uint64_t *counts, *addresses;

static void on_begin(unsigned int cpu, void *data) {
    (void)cpu;
    (void)data;
    started = executed;
    seen = executed;
    inside = true;
}

static void on_caller(unsigned int cpu, void *data) {
    (void)cpu;
    (void)data;
    if (inside) {
        if (executed > seen + 1) {
            fprintf(calls, "%" PRIu64 " ", executed - started);
        }
        seen = executed;
    }
}

/* The last call may be a jump, whose return is the caller's own. */
static void end_calls(void) {
    if (executed > seen + LEAVING) {
        fprintf(calls, "%" PRIu64 " ", executed - started);
    }
    fputc('\n', calls);
}

static void on_end(unsigned int cpu, void *data) {
    (void)cpu;
    (void)data;
    if (inside) {
        fprintf(out, "%" PRIu64 "\n", executed - started);
        if (calls != NULL) {
            end_calls();
        }
        inside = false;
    }
}

static void on_exit_close(qemu_plugin_id_t id, void *data) {
    (void)id;
    (void)data;
    fclose(out);
    if (calls != NULL) {
        fclose(calls);
    }
    if (profile != NULL) {
        for (size_t slot = 0; slot < SLOTS; slot++) {
            if (counts[slot] != 0) {
                fprintf(profile, "%" PRIu64 " %" PRIu64 "\n", addresses[slot], counts[slot]);
            }
        }
        fclose(profile);
    }
}

static void profile_instruction(struct qemu_plugin_insn *insn, uint64_t address) {
    const size_t slot = (address >> 1) & (SLOTS - 1);
    addresses[slot] = address;
    qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &counts[slot], 1);
}

/* QEMU runs an instruction's callbacks before its inline operations. */
static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        if (address == begin_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_begin, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
        if (calls != NULL && begin_address <= address && address < caller_end) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_caller, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
        if (address == end_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_end, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
        if (profile != NULL) {
            profile_instruction(insn, address);
        }
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc,
                        char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "begin=", 6) == 0) {
            begin_address = strtoull(argv[i] + 6, NULL, 0);
        } else if (strncmp(argv[i], "end=", 4) == 0) {
            end_address = strtoull(argv[i] + 4, NULL, 0);
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "w");
        } else if (strncmp(argv[i], "caller_end=", 11) == 0) {
            caller_end = strtoull(argv[i] + 11, NULL, 0);
        } else if (strncmp(argv[i], "calls=", 6) == 0) {
            calls = fopen(argv[i] + 6, "w");
            if (calls == NULL) {
                return 1;
            }
        } else if (strncmp(argv[i], "profile=", 8) == 0) {
            profile = fopen(argv[i] + 8, "w");
            counts = calloc(SLOTS, sizeof *counts);
            addresses = calloc(SLOTS, sizeof *addresses);
            if (profile == NULL || counts == NULL || addresses == NULL) {
                return 1;
            }
        }
    }
    if (out == NULL) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_atexit_cb(id, on_exit_close, NULL);
    return 0;
}

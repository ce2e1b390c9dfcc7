/* Rebuilds a file from one that is there and a delta, as edgekiln/runtime/delta.py does: EKD1.
 *
 * Nothing is allocated; an ek_delta is all the memory that there is. Files are reached through
 * functions, so that they may be flash. The caller compares the digest of what came out with the
 * signed one before it uses it: a delta that was not damaged by chance proves nothing.
 */
#ifndef EK_DELTA_H
#define EK_DELTA_H

#include <stdint.h>

#define EK_DELTA_MODELS 12980
#define EK_DELTA_RING 8192
#define EK_DELTA_HEADS 2048
#define EK_DELTA_LARGEST_TURN 8192
#define EK_DELTA_CHUNK 512
#define EK_DELTA_INPUT 256

/* Each returns 0, or anything else to end the work with EK_DELTA_IO. `delta` gives the next bytes
 * of the delta, as many as *count says or fewer at its end, and sets *count. `written` reads what
 * `write` has written; `write` goes from the beginning of the new file to its end. */
typedef struct {
    void *context;
    int (*base)(void *context, uint32_t offset, uint8_t *data, uint32_t count);
    int (*delta)(void *context, uint8_t *data, uint32_t *count);
    int (*written)(void *context, uint32_t offset, uint8_t *data, uint32_t count);
    int (*write)(void *context, const uint8_t *data, uint32_t count);
} ek_delta_files;

enum { EK_DELTA_OK = 0, EK_DELTA_IO = 1, EK_DELTA_DAMAGED = 2 };

/* The working memory; its content means nothing between two calls. */
typedef struct {
    const ek_delta_files *files;
    int error;
    uint32_t low, high, code;
    uint32_t base_bytes, new_bytes, done, held;
    uint32_t input_at, input_end;
    uint32_t base_at, base_end, base_next, base_left;
    uint16_t chances[EK_DELTA_MODELS];
    uint8_t seen[EK_DELTA_MODELS];
    uint8_t input[EK_DELTA_INPUT];
    uint8_t old[EK_DELTA_CHUNK];
    uint8_t made[EK_DELTA_CHUNK];
    union {
        struct {
            uint8_t ring[EK_DELTA_RING];
            uint16_t heads[EK_DELTA_HEADS];
        } echo;
        uint8_t turn[EK_DELTA_LARGEST_TURN];
    } work;
} ek_delta;

/* Rebuilds the file of `new_bytes` from a base of `base_bytes`, the sizes that are signed. */
int ek_delta_apply(ek_delta *state, const ek_delta_files *files, uint32_t base_bytes,
                   uint32_t new_bytes);

#endif

/* Updates of a model that is in flash: two slots, and the model linked into the firmware behind them.
 *
 *   ek_update_boot      at every start, before anything is answered: says which model runs
 *   ek_update_offer     when the firmware learns of an update: reads its head, takes it or says why not
 *   ek_update_step      from the main loop while it says EK_MORE or EK_WAIT: one bounded piece of work
 *   ek_update_confirm   once a model on trial has proven itself; ek_update_reject where it has not
 *
 * Whatever happens, and whenever power goes, a boot finds a model that was verified to the last byte:
 * the one on trial while it has boots left, else the confirmed one, else the one before it, else the
 * firmware's own. Nothing is allocated; all state is in the struct and in flash. Not for several
 * threads at once. */
#ifndef EK_UPDATE_H
#define EK_UPDATE_H

#include "ek_journal.h"
#include "ek_slot.h"

typedef enum {
    EK_NOTHING, /* no update is in hand */
    EK_MORE,    /* call again */
    EK_WAIT,    /* nothing could be fetched, or the journal not be written: call again later */
    EK_READY,   /* it passed its self-test and runs from the next ek_update_boot on */
    EK_ENDED,   /* it was refused: record.reason says why */
} ek_progress;

typedef struct {
    const ek_port *port;
    const ek_device *device;
    ek_record record;
    ek_source running;  /* what runs in this boot */
    int on_trial;      /* and whether it is on trial */
    uint8_t bytes[EK_HEAD_BYTES]; /* the head of the update in hand */
    ek_head head;
    int has_head;
    uint32_t part;     /* the next to be fetched */
    uint32_t vector;   /* the next of the self-test's, once it has begun */
    int testing;
    uint32_t reached;  /* the furthest that `part` was */
    uint32_t failures; /* since then */
    const uint8_t *image;
    uint8_t buffer[EK_BLOCK_BYTES];
} ek_update;

/* Reads the journal, goes back where a trial's boots ran out, verifies what shall run. */
void ek_update_boot(ek_update *update, const ek_port *port, const ek_device *device);

/* The image that runs; null for the firmware's own. Valid until the next ek_update_boot. */
const uint8_t *ek_update_image(const ek_update *update);

/* Reads the head of what can be fetched now. EK_FINE: it is in hand, or goes on where it was cut. What
 * is refused leaves the update in hand as it is. */
ek_reason ek_update_offer(ek_update *update);

ek_progress ek_update_step(ek_update *update);

/* Ends a trial; both do nothing where there is none. EK_FLASH: try again. After ek_update_reject the
 * model before runs from the next ek_update_boot on. */
ek_reason ek_update_confirm(ek_update *update);
ek_reason ek_update_reject(ek_update *update);

#endif

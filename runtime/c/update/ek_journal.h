/* What a device knows across resets: one record, written by turns into two pages of flash. */
#ifndef EK_JOURNAL_H
#define EK_JOURNAL_H

#include "ek_update_port.h"

#define EK_RECORD_BYTES 128u

/* Of the update in hand. Numbers go into the journal and never change. */
typedef enum {
    EK_IDLE = 0,
    EK_FETCHING = 1, /* the candidate's slot is being written */
    EK_STAGED = 2,   /* complete and verified; the self-test is next or under way */
    EK_TRIAL = 3,    /* runs from the next boot on; goes back unless it is confirmed */
} ek_state;

/* How the last update ended. */
typedef enum {
    EK_NONE_YET = 0,
    EK_COMMITTED = 1,
    EK_REJECTED = 2,
    EK_ROLLED_BACK = 3,
} ek_outcome;

typedef enum {
    EK_FACTORY = 0, /* the model that is linked into the firmware */
    EK_IN_SLOT_A = 1,
    EK_IN_SLOT_B = 2,
} ek_source;

typedef struct {
    uint32_t sequence; /* of the record: the higher one is the later one */
    uint32_t floor;    /* the lowest security counter that may be installed */
    uint8_t state;     /* ek_state */
    uint8_t tries;     /* self-tests or boots that are left */
    uint8_t active;    /* ek_source that runs while nothing is on trial */
    uint8_t candidate; /* ek_source that the update in hand is in */
    uint8_t outcome;   /* ek_outcome of the last update */
    uint8_t reason;    /* ek_reason of that */
    uint8_t running[EK_DIGEST_BYTES];  /* SHA-256 of the head of the active image */
    uint8_t previous[EK_DIGEST_BYTES]; /* the same of the other slot's, zeros where it has none */
    uint8_t offered[EK_DIGEST_BYTES];  /* the same of the update in hand, or of the last one */
} ek_record;

/* Reads the later of the valid records; where there is none, what a new device begins with. */
void ek_journal_open(const ek_port *port, uint32_t factory_counter, ek_record *record);

/* Writes the record with the next sequence number; the one before stays valid until this one is. */
ek_reason ek_journal_write(const ek_port *port, ek_record *record);

#endif

/* Why an update was not taken, or did not stay. Numbers go into the journal and never change. */
#ifndef EK_REASON_H
#define EK_REASON_H

typedef enum {
    EK_FINE = 0,
    EK_NO_ENVELOPE = 1,      /* the first bytes are not an envelope's, or of another schema */
    EK_BAD_SIZE = 2,         /* sizes that do not fit together, this slot or the block buffer */
    EK_UNKNOWN_KEY = 3,      /* no key of this firmware */
    EK_BAD_SIGNATURE = 4,
    EK_OTHER_CLASS = 5,      /* made for other devices */
    EK_OTHER_STRUCTURE = 6,  /* another network than this firmware's code computes */
    EK_OLD_COUNTER = 7,      /* below what this device has run */
    EK_REFUSED_BEFORE = 8,   /* this very envelope failed here already */
    EK_ALREADY_RUNNING = 9,
    EK_DAMAGED = 10,         /* hashes do not hold, however often it was fetched or read */
    EK_WRONG_ANSWERS = 11,   /* golden vectors came out different */
    EK_NOT_CONFIRMED = 12,   /* the trial's boots ran out */
    EK_TAKEN_BACK = 13,      /* the application said no */
    EK_FLASH = 14,           /* flash did not do what it was told */
    EK_BUSY = 15,            /* a trial has to end first, or what it ran needs a new boot */
    EK_LATER = 16,           /* nothing could be fetched now; no end of anything */
} ek_reason;

#endif

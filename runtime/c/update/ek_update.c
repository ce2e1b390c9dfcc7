/* The life of an update as a table: what may happen in which state, what follows, and what the record
 * then says. A record is in flash before anything is done that it speaks of. */
#include "ek_update.h"

#include "ek_bytes.h"
#include "ek_image.h"

#define FAILURES 8u /* without progress, before the update is given up: each wears flash */

typedef enum { OFFER, ARRIVED, TRY, PASSED, FAILED, CONFIRMED, LOST } event;

/* Effects: the record as it was becomes the record that is written. */
typedef void (*effect)(const ek_update *update, ek_record *record, ek_reason why);

static void take(const ek_update *update, ek_record *record, ek_reason why) {
    ek_sha256 hash;
    ek_sha256_init(&hash);
    ek_sha256_update(&hash, update->buffer, EK_HEAD_BYTES);
    ek_sha256_final(&hash, record->offered);
    (void)why;
    record->candidate = record->active == EK_IN_SLOT_A ? EK_IN_SLOT_B : EK_IN_SLOT_A;
    ek_fill(record->previous, 0, EK_DIGEST_BYTES); /* its slot is written over */
}

static void stage(const ek_update *update, ek_record *record, ek_reason why) {
    (void)why;
    record->tries = update->device->self_tests;
}

static void count(const ek_update *update, ek_record *record, ek_reason why) {
    (void)update;
    (void)why;
    record->tries--;
}

static void begin_trial(const ek_update *update, ek_record *record, ek_reason why) {
    (void)why;
    record->tries = update->device->trial_boots;
}

static void adopt(const ek_update *update, ek_record *record, ek_reason why) {
    ek_fill(record->previous, 0, EK_DIGEST_BYTES);
    if (record->active != EK_FACTORY) {
        ek_copy(record->previous, record->running, EK_DIGEST_BYTES);
    }
    ek_copy(record->running, record->offered, EK_DIGEST_BYTES);
    record->active = record->candidate;
    record->outcome = EK_COMMITTED;
    record->reason = (uint8_t)why;
    if (record->floor < update->head.security_counter) {
        record->floor = update->head.security_counter;
    }
}

static void refuse(const ek_update *update, ek_record *record, ek_reason why) {
    (void)update;
    record->outcome = EK_REJECTED;
    record->reason = (uint8_t)why;
}

static void go_back(const ek_update *update, ek_record *record, ek_reason why) {
    (void)update;
    record->outcome = EK_ROLLED_BACK;
    record->reason = (uint8_t)why;
}

/* The active image does not verify any more: the one before it takes its place, or the factory's. */
static void fall_back(const ek_update *update, ek_record *record, ek_reason why) {
    static const uint8_t none[EK_DIGEST_BYTES] = {0};
    (void)update;
    record->outcome = EK_ROLLED_BACK;
    record->reason = (uint8_t)why;
    ek_copy(record->running, record->previous, EK_DIGEST_BYTES);
    ek_copy(record->previous, none, EK_DIGEST_BYTES);
    record->active = ek_same(record->running, none, EK_DIGEST_BYTES) ? EK_FACTORY
                     : record->active == EK_IN_SLOT_A               ? EK_IN_SLOT_B
                                                                    : EK_IN_SLOT_A;
}

static const struct {
    uint8_t state, event, next;
    effect effect;
} transitions[] = {
    {EK_IDLE, OFFER, EK_FETCHING, take},
    {EK_IDLE, LOST, EK_IDLE, fall_back},
    {EK_FETCHING, OFFER, EK_FETCHING, take},
    {EK_FETCHING, ARRIVED, EK_STAGED, stage},
    {EK_FETCHING, FAILED, EK_IDLE, refuse},
    {EK_FETCHING, LOST, EK_IDLE, fall_back},
    {EK_STAGED, OFFER, EK_FETCHING, take},
    {EK_STAGED, TRY, EK_STAGED, count},
    {EK_STAGED, PASSED, EK_TRIAL, begin_trial},
    {EK_STAGED, FAILED, EK_IDLE, refuse},
    {EK_STAGED, LOST, EK_IDLE, fall_back},
    {EK_TRIAL, TRY, EK_TRIAL, count},
    {EK_TRIAL, CONFIRMED, EK_IDLE, adopt},
    {EK_TRIAL, FAILED, EK_IDLE, go_back},
    {EK_TRIAL, LOST, EK_IDLE, fall_back},
};

/* Writes what follows on `happened`. EK_BUSY where nothing does, EK_FLASH where it was not written:
 * then nothing has changed. */
static ek_reason change(ek_update *update, event happened, ek_reason why) {
    for (uint32_t i = 0; i < sizeof transitions / sizeof *transitions; i++) {
        if (transitions[i].state == update->record.state && transitions[i].event == happened) {
            ek_record record = update->record;
            record.state = transitions[i].next;
            transitions[i].effect(update, &record, why);
            const ek_reason reason = ek_journal_write(update->port, &record);
            if (reason == EK_FINE) {
                update->record = record;
            }
            return reason;
        }
    }
    return EK_BUSY;
}

static ek_area area_of(ek_source place) {
    return place == EK_IN_SLOT_A ? EK_SLOT_A : EK_SLOT_B;
}

/* Verifies a slot and makes it what runs. */
static ek_reason load(ek_update *update, uint8_t place, const uint8_t digest[EK_DIGEST_BYTES]) {
    const ek_area area = area_of((ek_source)place);
    const ek_reason reason =
        ek_slot_verify(update->port, update->device, update->record.floor, area, digest,
                       update->bytes, &update->head);
    if (reason == EK_FINE) {
        update->running = (ek_source)place;
        update->image = update->port->flash.address(update->port->context, area) +
                        ek_slot_image_offset(&update->head);
    }
    return reason;
}

/* Whether a trial goes on: what is left of it falls before anything is loaded. */
static int load_trial(ek_update *update) {
    ek_reason why = EK_NOT_CONFIRMED;
    if (update->record.tries != 0u) {
        if (change(update, TRY, EK_FINE) != EK_FINE) {
            return 0;
        }
        why = load(update, update->record.candidate, update->record.offered);
        if (why == EK_FINE) {
            return 1;
        }
    }
    (void)change(update, FAILED, why);
    return 0;
}

void ek_update_boot(ek_update *update, const ek_port *port, const ek_device *device) {
    update->port = port;
    update->device = device;
    update->running = EK_FACTORY;
    update->image = 0;
    update->has_head = 0;
    update->testing = 0;
    update->failures = 0;
    ek_journal_open(port, device->factory_counter, &update->record);
    update->on_trial = update->record.state == (uint8_t)EK_TRIAL && load_trial(update);
    if (update->on_trial) {
        return;
    }
    while (update->record.active != (uint8_t)EK_FACTORY) {
        const ek_reason why = load(update, update->record.active, update->record.running);
        if (why == EK_FINE) {
            return;
        }
        if (change(update, LOST, why) != EK_FINE) {
            return; /* the journal cannot be written: the firmware's own model, this time */
        }
    }
}

const uint8_t *ek_update_image(const ek_update *update) {
    return update->image;
}

/* Whether the last update, this very envelope, had its chance. */
static int was_refused(const ek_record *record) {
    return record->reason == (uint8_t)EK_WRONG_ANSWERS ||
           record->reason == (uint8_t)EK_NOT_CONFIRMED || record->reason == (uint8_t)EK_TAKEN_BACK;
}

/* The head in the buffer is the one that parts are fetched for from now on. */
static void follow(ek_update *update, uint32_t part) {
    ek_copy(update->bytes, update->buffer, EK_HEAD_BYTES);
    (void)ek_head_read(update->bytes, &update->head);
    update->has_head = 1;
    update->testing = 0;
    update->failures = 0;
    update->part = part;
    update->reached = part;
}

/* An update that is not the one in hand. */
static ek_reason take_up(ek_update *update, const ek_record *offer) {
    const ek_record *record = &update->record;
    const int known = ek_same(offer->offered, record->offered, EK_DIGEST_BYTES);
    if (record->active != (uint8_t)EK_FACTORY &&
        ek_same(offer->offered, record->running, EK_DIGEST_BYTES)) {
        return EK_ALREADY_RUNNING;
    }
    if (known && was_refused(record)) {
        return EK_REFUSED_BEFORE;
    }
    const ek_reason reason = change(update, OFFER, EK_FINE);
    if (reason == EK_FINE) {
        follow(update, 0);
    }
    return reason;
}

/* What is in hand stays as it is until another head has proven that it may take its place. */
ek_reason ek_update_offer(ek_update *update) {
    const ek_port *port = update->port;
    const ek_record *record = &update->record;
    ek_record offer = *record;
    ek_head head;
    if (record->state == (uint8_t)EK_TRIAL) {
        return EK_BUSY;
    }
    if (port->fetch(port->context, 0, update->buffer, EK_HEAD_BYTES) != 0) {
        return EK_LATER;
    }
    const ek_reason reason =
        ek_head_check(port, update->device, record->floor, update->buffer, &head);
    if (reason != EK_FINE) {
        return reason;
    }
    take(update, &offer, EK_FINE);
    if (offer.candidate == (uint8_t)update->running) { /* a trial that was rejected still runs */
        return EK_BUSY;
    }
    if (record->state == (uint8_t)EK_IDLE ||
        !ek_same(offer.offered, record->offered, EK_DIGEST_BYTES)) {
        return take_up(update, &offer);
    }
    if (record->state == (uint8_t)EK_FETCHING && !update->has_head) {
        follow(update, ek_slot_resume(port, area_of((ek_source)record->candidate),
                                      update->buffer, &head));
    }
    return EK_FINE;
}

static ek_progress give_up(ek_update *update, ek_reason why) {
    return change(update, FAILED, why) == EK_FINE ? EK_ENDED : EK_WAIT;
}

static ek_progress fetch_part(ek_update *update) {
    const ek_port *port = update->port;
    const ek_area area = area_of((ek_source)update->record.candidate);
    if (update->part == ek_slot_parts(&update->head)) {
        return change(update, ARRIVED, EK_FINE) == EK_FINE ? EK_MORE : EK_WAIT;
    }
    const ek_reason reason = ek_slot_fetch(port, area, update->bytes, &update->head,
                                           update->part, update->buffer);
    if (reason == EK_LATER) {
        return EK_WAIT;
    }
    if (reason == EK_FINE) {
        update->part++;
        if (update->part > update->reached) { /* what was there before is no progress */
            update->reached = update->part;
            update->failures = 0;
        }
        return EK_MORE;
    }
    update->failures++;
    if (update->failures >= FAILURES) {
        return give_up(update, reason);
    }
    update->part = ek_slot_resume(port, area, update->bytes, &update->head);
    return EK_MORE;
}

static ek_progress begin_test(ek_update *update) {
    const ek_record *record = &update->record;
    if (record->tries == 0u) { /* it took the device down, every time */
        return give_up(update, EK_WRONG_ANSWERS);
    }
    if (change(update, TRY, EK_FINE) != EK_FINE) {
        return EK_WAIT;
    }
    const ek_reason reason =
        ek_slot_verify(update->port, update->device, record->floor,
                       area_of((ek_source)record->candidate), record->offered, update->bytes,
                       &update->head);
    if (reason != EK_FINE) {
        return give_up(update, reason);
    }
    update->testing = 1;
    update->vector = 0;
    return EK_MORE;
}

static ek_progress test_vector(ek_update *update) {
    const ek_port *port = update->port;
    const ek_area area = area_of((ek_source)update->record.candidate);
    const uint8_t *image =
        port->flash.address(port->context, area) + ek_slot_image_offset(&update->head);
    ek_golden golden;
    if (!ek_image_golden(image, update->head.image_bytes, &golden)) {
        return give_up(update, EK_WRONG_ANSWERS);
    }
    const uint32_t i = update->vector;
    const uint8_t *output =
        port->run(port->context, image, i, golden.inputs + (i * golden.input_bytes),
                  golden.input_bytes, golden.output_bytes);
    if (output == 0 ||
        !ek_same(output, golden.outputs + (i * golden.output_bytes), golden.output_bytes)) {
        return give_up(update, EK_WRONG_ANSWERS);
    }
    if (i + 1u < golden.count) {
        update->vector++;
        return EK_MORE;
    }
    return change(update, PASSED, EK_FINE) == EK_FINE ? EK_READY : EK_WAIT;
}

ek_progress ek_update_step(ek_update *update) {
    switch (update->record.state) {
    case EK_FETCHING:
        return update->has_head ? fetch_part(update) : EK_NOTHING;
    case EK_STAGED:
        return update->testing ? test_vector(update) : begin_test(update);
    case EK_TRIAL: /* what runs on trial already needs no boot */
        return update->on_trial ? EK_NOTHING : EK_READY;
    default:
        return EK_NOTHING;
    }
}

static ek_reason end_trial(ek_update *update, event happened, ek_reason why) {
    const ek_reason reason = update->on_trial ? change(update, happened, why) : EK_FINE;
    if (reason == EK_FINE) {
        update->on_trial = 0;
    }
    return reason;
}

ek_reason ek_update_confirm(ek_update *update) {
    return end_trial(update, CONFIRMED, EK_FINE);
}

ek_reason ek_update_reject(ek_update *update) {
    return end_trial(update, FAILED, EK_TAKEN_BACK);
}

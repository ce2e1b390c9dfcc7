/* Drift detectors for microcontrollers: what edgekiln.runtime.drift does, to the last bit.
 *
 * No heap, no library, a state of 76 bytes a watched value. Every operation on floats is one of
 * IEEE 754's +, -, *, / and comparisons in a fixed order, and products go through memory before they
 * are added, so that a compiler finds nothing to fuse. What must not be given is -ffast-math. `drift_reference.c`, which `edgekiln export --drift` writes, has the tables of one
 * bundle and the memory of one detector. */
#ifndef EK_DRIFT_H
#define EK_DRIFT_H

#include <float.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2
#error "float expressions are evaluated in another type; on x86 compile with -msse2 -mfpmath=sse"
#endif

enum {
    EK_DRIFT_BINS = 16,
    EK_DRIFT_SHAPES = 8,  /* changes that are bet on from the start */
    EK_DRIFT_PERIOD = 32, /* observations between two changes of the learned bets */
    EK_DRIFT_PRIOR = 32,  /* observations that the reference weighs in what was learned */
};

/* A place where the bin of a value changes. A value on it falls into floor(below + at * u). */
typedef struct {
    float value;
    float below, at; /* in bins: 0 to 16 */
    int32_t after;   /* the bin of values behind it */
} ek_drift_step;

typedef struct {
    const ek_drift_step *steps; /* by rising value */
    int32_t count;
} ek_drift_feature;

/* Of rows that rest on so many samples of training data. */
typedef struct {
    float shapes[EK_DRIFT_BINS][EK_DRIFT_SHAPES];
    float radius; /* of what is no drift, in bins */
} ek_drift_bets;

/* Tables of one bundle. Rows are its features and, last, the confidence of the answer. */
typedef struct {
    const ek_drift_feature *features;
    const ek_drift_bets *feature_bets, *confidence_bets;
    const float *class_shares;
    const float *starts; /* of the evidence of each shape and, last, of what was learned */
    float class_radius;
    float threshold; /* a row whose evidence is as large raises an alarm */
    float limit;     /* of each part of the evidence */
    int32_t rows, classes;
    uint32_t key; /* of the state that belongs to these tables */
} ek_drift_reference;

/* Of the learned bets. */
typedef struct {
    float low, high;
} ek_drift_bounds;

/* State of a row: 68 bytes, and the bounds, which follow from them. */
typedef struct {
    uint8_t seen[EK_DRIFT_BINS];  /* observations in each bin, older ones forgotten by a quarter */
    uint8_t fresh[EK_DRIFT_BINS]; /* and of this period */
    float evidence[EK_DRIFT_SHAPES + 1];
    ek_drift_bounds bounds;
} ek_drift_row;

typedef struct {
    uint32_t key;
    uint32_t age; /* observations of this period */
    float class_evidence;
    ek_drift_bounds class_bounds;
} ek_drift_head;

/* The tables, and where the state lies: to keep it over a restart, keep head, rows and classes. */
typedef struct {
    const ek_drift_reference *reference;
    ek_drift_head *head;
    ek_drift_row *rows;
    uint8_t *classes; /* as of a row, for the answers: classes seen, then fresh */
    uint16_t *order;  /* room to sort the classes in */
} ek_drift;

/* Before anything else. Returns 1 if the state that it finds belongs to the tables and can be a
 * detector's: it goes on from there. Else it starts anew, as from memory that holds zeros. */
int ek_drift_start(const ek_drift *drift);

/* The bin of a finite value; `u` is a random number in [0, 1), for values that many samples share. */
uint8_t ek_drift_bin(const ek_drift_feature *feature, float value, float u);

/* One observation: a bin for each row, and the class of the answer. Returns 1 if an alarm is on. */
int ek_drift_observe(const ek_drift *drift, const uint8_t *bins, int32_t answer);

/* Evidence of a row against its reference, to be compared with reference->threshold. That of the
 * answers is head->class_evidence. */
float ek_drift_evidence(const ek_drift *drift, int32_t row);

#ifdef __cplusplus
}
#endif
#endif

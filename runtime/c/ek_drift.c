/* See ek_drift.h; what it computes and why is in drift.py and drift_bets.py of edgekiln.runtime. */
#include "ek_drift.h"

#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#endif

enum { PARTS = EK_DRIFT_SHAPES + 1 }; /* of the evidence */

static const float learned_kept = 0.995f;
static const float bet_limit = 6.0f;

static float at_most(float value, float limit) { return value < limit ? value : limit; }

static float at_least(float value, float limit) { return value > limit ? value : limit; }

/* A float as it lies in memory, so that the product which it is gets fused with no sum. */
static float settled(const float *value) { return *(const volatile float *)value; }

static void end_period(uint8_t *seen, uint8_t *fresh, int32_t bins) {
    for (int32_t i = 0; i < bins; ++i) {
        seen[i] = (uint8_t)(seen[i] * 3 / 4 + fresh[i]);
        fresh[i] = 0;
    }
}

static float total_of(const uint8_t *seen, int32_t bins) {
    int32_t total = EK_DRIFT_PRIOR;
    for (int32_t i = 0; i < bins; ++i) {
        total += seen[i];
    }
    return (float)total;
}

/* Bins and classes have weights: what was seen of them over their share of the reference. Between
 * the bounds, weights over the total are bets. */
static float learned_bet(float weight, const ek_drift_bounds *bounds, float total) {
    const float bounded = at_least(at_most(weight, bounds->high), bounds->low);
    return at_most(bounded / total * learned_kept, bet_limit);
}

/* Of even bins, weights are whole numbers. */
static int32_t even_weight(uint8_t seen) { return seen * EK_DRIFT_BINS + EK_DRIFT_PRIOR; }

static void sort_counts(uint8_t *counts, int32_t length) {
    for (int32_t i = 1; i < length; ++i) {
        const uint8_t count = counts[i];
        int32_t place = i;
        for (; place > 0 && counts[place - 1] > count; --place) {
            counts[place] = counts[place - 1];
        }
        counts[place] = count;
    }
}

static void learn_even(ek_drift_row *row, float radius) {
    uint8_t rising[EK_DRIFT_BINS];
    int32_t lowest = 0, highest = 0;
    row->bounds.low = row->bounds.high = total_of(row->seen, EK_DRIFT_BINS);
    for (int32_t i = 0; i < EK_DRIFT_BINS; ++i) {
        rising[i] = row->seen[i];
    }
    sort_counts(rising, EK_DRIFT_BINS);
    for (int32_t i = 0; i < EK_DRIFT_BINS; ++i) {
        const float bins = (float)(i + 1);
        lowest += even_weight(rising[i]);
        highest += even_weight(rising[EK_DRIFT_BINS - 1 - i]);
        if (bins > radius) {
            row->bounds.low = at_most((float)lowest / (bins - radius), row->bounds.low);
        }
        row->bounds.high = at_least((float)highest / (bins + radius), row->bounds.high);
    }
}

static float class_mass(const ek_drift *drift, int32_t i) {
    const float prior = drift->reference->class_shares[i] * (float)EK_DRIFT_PRIOR;
    return (float)drift->classes[i] + settled(&prior);
}

static float class_weight(const ek_drift *drift, int32_t i) {
    return class_mass(drift, i) / drift->reference->class_shares[i];
}

static void sort_classes(const ek_drift *drift) {
    uint16_t *order = drift->order;
    for (int32_t i = 0; i < drift->reference->classes; ++i) {
        const float weight = class_weight(drift, i);
        int32_t place = i;
        for (; place > 0 && class_weight(drift, order[place - 1]) > weight; --place) {
            order[place] = order[place - 1];
        }
        order[place] = (uint16_t)i;
    }
}

static void learn_classes(const ek_drift *drift) {
    const ek_drift_reference *reference = drift->reference;
    const float radius = reference->class_radius;
    const float *shares = reference->class_shares;
    ek_drift_bounds *bounds = &drift->head->class_bounds;
    float lowest = 0.0f, highest = 0.0f, low_share = 0.0f, high_share = 0.0f;
    bounds->low = bounds->high = total_of(drift->classes, reference->classes);
    sort_classes(drift);
    for (int32_t i = 0; i < reference->classes; ++i) {
        const int32_t low = drift->order[i], high = drift->order[reference->classes - 1 - i];
        lowest += class_mass(drift, low);
        low_share += shares[low];
        highest += class_mass(drift, high);
        high_share += shares[high];
        if (low_share > radius) {
            bounds->low = at_most(lowest / (low_share - radius), bounds->low);
        }
        bounds->high = at_least(highest / (high_share + radius), bounds->high);
    }
}

static const ek_drift_bets *bets_of(const ek_drift_reference *reference, int32_t row) {
    return row < reference->rows - 1 ? reference->feature_bets : reference->confidence_bets;
}

static void learn(const ek_drift *drift) {
    for (int32_t r = 0; r < drift->reference->rows; ++r) {
        learn_even(&drift->rows[r], bets_of(drift->reference, r)->radius);
    }
    learn_classes(drift);
}

static void refresh(const ek_drift *drift) {
    const ek_drift_reference *reference = drift->reference;
    for (int32_t r = 0; r < reference->rows; ++r) {
        ek_drift_row *row = &drift->rows[r];
        end_period(row->seen, row->fresh, EK_DRIFT_BINS);
        for (int32_t i = 0; i < PARTS; ++i) {
            row->evidence[i] = at_most(row->evidence[i], reference->limit);
        }
    }
    end_period(drift->classes, drift->classes + reference->classes, reference->classes);
    drift->head->class_evidence = at_most(drift->head->class_evidence, reference->limit);
    drift->head->age = 0;
    learn(drift);
}

static int are_counts(const uint8_t *seen, const uint8_t *fresh, int32_t bins, uint32_t age) {
    uint32_t before = 0, now = 0;
    for (int32_t i = 0; i < bins; ++i) {
        before += seen[i];
        now += fresh[i];
    }
    return before <= 4 * EK_DRIFT_PERIOD && now == age;
}

/* Neither negative nor infinite nor not a number. */
static int is_evidence(float part) { return part >= 0.0f && part <= FLT_MAX; }

static int is_valid(const ek_drift *drift) {
    const ek_drift_reference *reference = drift->reference;
    const ek_drift_head *head = drift->head;
    int valid = head->key == reference->key && head->age <= EK_DRIFT_PERIOD &&
                is_evidence(head->class_evidence) &&
                are_counts(drift->classes, drift->classes + reference->classes,
                           reference->classes, head->age);
    for (int32_t r = 0; r < reference->rows; ++r) {
        const ek_drift_row *row = &drift->rows[r];
        valid &= are_counts(row->seen, row->fresh, EK_DRIFT_BINS, head->age);
        for (int32_t i = 0; i < PARTS; ++i) {
            valid &= is_evidence(row->evidence[i]);
        }
    }
    return valid;
}

static void clear(const ek_drift *drift) {
    const ek_drift_reference *reference = drift->reference;
    for (int32_t r = 0; r < reference->rows; ++r) {
        drift->rows[r] = (ek_drift_row){{0}, {0}, {0.0f}, {0.0f, 0.0f}};
    }
    for (int32_t i = 0; i < 2 * reference->classes; ++i) {
        drift->classes[i] = 0;
    }
    *drift->head = (ek_drift_head){reference->key, 0, 0.0f, {0.0f, 0.0f}};
}

int ek_drift_start(const ek_drift *drift) {
    const int kept = is_valid(drift);
    if (!kept) {
        clear(drift);
    }
    learn(drift);
    return kept;
}

uint8_t ek_drift_bin(const ek_drift_feature *feature, float value, float u) {
    int32_t passed = 0;
    while (passed < feature->count && value >= feature->steps[passed].value) {
        ++passed;
    }
    if (passed == 0) {
        return 0;
    }
    const ek_drift_step *step = &feature->steps[passed - 1];
    if (value != step->value) {
        return (uint8_t)step->after;
    }
    const float spread = step->at * u;
    const int32_t bin = (int32_t)(step->below + settled(&spread));
    return (uint8_t)(bin < step->after ? bin : step->after);
}

float ek_drift_evidence(const ek_drift *drift, int32_t row) {
    const float *evidence = drift->rows[row].evidence;
    float sum = settled(evidence);
    for (int32_t i = 1; i < PARTS; ++i) {
        sum += settled(&evidence[i]);
    }
    return sum;
}

static void observe_row(ek_drift_row *row, const float *shapes, const float *starts, uint8_t bin) {
    const float total = total_of(row->seen, EK_DRIFT_BINS);
    const float learned = learned_bet((float)even_weight(row->seen[bin]), &row->bounds, total);
    for (int32_t i = 0; i < EK_DRIFT_SHAPES; ++i) {
        row->evidence[i] = (settled(&row->evidence[i]) + starts[i]) * shapes[i];
    }
    float *last = &row->evidence[EK_DRIFT_SHAPES];
    *last = (settled(last) + starts[EK_DRIFT_SHAPES]) * learned;
    row->fresh[bin]++;
}

int ek_drift_observe(const ek_drift *drift, const uint8_t *bins, int32_t answer) {
    const ek_drift_reference *reference = drift->reference;
    ek_drift_head *head = drift->head;
    int alarm = 0;
    if (head->age == EK_DRIFT_PERIOD) {
        refresh(drift);
    }
    head->age++;
    for (int32_t r = 0; r < reference->rows; ++r) {
        const ek_drift_bets *bets = bets_of(reference, r);
        observe_row(&drift->rows[r], bets->shapes[bins[r]], reference->starts, bins[r]);
        alarm |= ek_drift_evidence(drift, r) >= reference->threshold;
    }
    const float total = total_of(drift->classes, reference->classes);
    const float bet = learned_bet(class_weight(drift, answer), &head->class_bounds, total);
    head->class_evidence = (settled(&head->class_evidence) + 1.0f) * bet;
    drift->classes[reference->classes + answer]++;
    return alarm | (head->class_evidence >= reference->threshold);
}

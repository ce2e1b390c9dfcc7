/* See ek_delta.h; names and numbers are those of range_coder.py and delta_codec.py. */
#include "ek_delta.h"

#include <string.h>

#define LIMIT 127u
#define NUMBER_BITS 33u
#define NUMBER_LENGTHS 34u
#define NUMBER_PREFIXES (34u << 3)
#define BYTE_MODELS 256u
#define FIELDS 9u
#define CLASSES 35u
#define MOST_HITS 15u
#define MISSES 8u
#define MOST_BACK 16u

#define METHODS (FIELDS * (NUMBER_LENGTHS + NUMBER_PREFIXES))
#define HITS (METHODS + BYTE_MODELS)
#define KINDS (HITS + 16u * 8u)
#define ECHOES (KINDS + NUMBER_LENGTHS + NUMBER_PREFIXES)
#define LITERALS (ECHOES + MOST_HITS + 1u + MISSES)
#define TEXTS (LITERALS + 4u * 4u * BYTE_MODELS)
#define TENSORS (TEXTS + 4u * BYTE_MODELS)
#define TENSOR_MODELS (CLASSES * NUMBER_LENGTHS + NUMBER_PREFIXES + 2u)

enum { BASE = 0, TURNED = 1, TENSOR = 2, TEXT = 3, LITERAL = 4 };

typedef struct {
    uint32_t method, width, steady, back;
    uint64_t length, rows, columns;
    int64_t offset, extent;
} segment;

typedef char models_fit[TENSORS + 3u * TENSOR_MODELS == EK_DELTA_MODELS ? 1 : -1];

static void fail(ek_delta *s, int error) {
    if (s->error == EK_DELTA_OK) s->error = error;
}

static int fill(ek_delta *s) {
    s->input_at = 0;
    s->input_end = EK_DELTA_INPUT;
    if (s->files->delta(s->files->context, s->input, &s->input_end) != 0) fail(s, EK_DELTA_IO);
    if (s->error != EK_DELTA_OK || s->input_end > EK_DELTA_INPUT) s->input_end = 0;
    return s->input_end > 0;
}

static uint32_t next_byte(ek_delta *s) {
    if (s->input_at == s->input_end && !fill(s)) {
        fail(s, EK_DELTA_DAMAGED);
        return 0;
    }
    return s->input[s->input_at++];
}

static uint32_t split(ek_delta *s, uint32_t chance) {
    uint32_t span = s->high - s->low;
    uint32_t mid = s->low + (span >> 16) * chance + ((span & 0xffffu) * chance >> 16);
    uint32_t bit = s->code <= mid;
    if (bit) {
        s->high = mid;
    } else {
        s->low = mid + 1u;
    }
    while (((s->low ^ s->high) & 0xff000000u) == 0u) {
        s->low <<= 8;
        s->high = s->high << 8 | 0xffu;
        s->code = s->code << 8 | next_byte(s);
    }
    return bit;
}

static uint32_t bit(ek_delta *s, uint32_t model) {
    uint32_t chance = s->chances[model], rate = 131072u / (2u * s->seen[model] + 3u);
    uint32_t one = split(s, chance);
    if (one) {
        s->chances[model] = (uint16_t)(chance + ((65536u - chance) * rate >> 16));
    } else {
        s->chances[model] = (uint16_t)(chance - (chance * rate >> 16));
    }
    if (s->seen[model] < LIMIT) s->seen[model]++;
    return one;
}

static uint64_t number(ek_delta *s, uint32_t lengths, uint32_t prefixes) {
    uint32_t length = 0, rest, place;
    uint64_t node = 1;
    while (length < NUMBER_BITS && bit(s, lengths + length)) length++;
    if (length < 2u) return length;
    rest = length - 1u;
    for (place = 0; place < rest && place < 3u; place++) {
        node = node << 1 | bit(s, prefixes + (length << 3) + (uint32_t)node);
    }
    for (; place < rest; place++) node = node << 1 | split(s, 32768u);
    return node;
}

static uint8_t coded_byte(ek_delta *s, uint32_t first) {
    uint32_t node = 1;
    while (node < 256u) node = node << 1 | bit(s, first + node);
    return (uint8_t)node;
}

static uint64_t field(ek_delta *s, uint32_t index) {
    uint32_t first = index * (NUMBER_LENGTHS + NUMBER_PREFIXES);
    return number(s, first, first + NUMBER_LENGTHS);
}

static int64_t signed_field(ek_delta *s, uint32_t index) {
    uint64_t value = field(s, index);
    return value & 1u ? -(int64_t)((value + 1u) >> 1) : (int64_t)(value >> 1);
}

static void put(ek_delta *s, uint8_t byte) {
    s->made[s->held++] = byte;
    s->done++;
    if (s->held == EK_DELTA_CHUNK || s->done == s->new_bytes) {
        if (s->files->write(s->files->context, s->made, s->held) != 0) fail(s, EK_DELTA_IO);
        s->held = 0;
    }
}

/* What is held back must be written before it can be read. */
static void flush(ek_delta *s) {
    if (s->held > 0 && s->files->write(s->files->context, s->made, s->held) != 0) {
        fail(s, EK_DELTA_IO);
    }
    s->held = 0;
}

static void open_base(ek_delta *s, const segment *g) {
    s->base_at = s->base_end = 0;
    s->base_next = (uint32_t)g->offset;
    s->base_left = (uint32_t)g->extent;
}

/* The next byte of the base; -1 where the stretch ends. */
static int base_byte(ek_delta *s) {
    if (s->base_at == s->base_end) {
        uint32_t count = s->base_left < EK_DELTA_CHUNK ? s->base_left : EK_DELTA_CHUNK;
        if (count == 0) return -1;
        if (s->files->base(s->files->context, s->base_next, s->old, count) != 0) {
            fail(s, EK_DELTA_IO);
            return -1;
        }
        s->base_next += count;
        s->base_left -= count;
        s->base_at = 0;
        s->base_end = count;
    }
    return s->old[s->base_at++];
}

static void make_base(ek_delta *s, const segment *g) {
    uint64_t index;
    open_base(s, g);
    for (index = 0; index < g->length && s->error == EK_DELTA_OK; index++) {
        put(s, (uint8_t)base_byte(s));
    }
}

static void make_turned(ek_delta *s, const segment *g) {
    uint32_t size = (uint32_t)(g->rows * g->columns) * g->width, from = (uint32_t)g->offset;
    uint32_t row, column, part;
    uint64_t end = s->done + g->length;
    while (s->done < end && s->error == EK_DELTA_OK) {
        flush(s);
        if (s->files->written(s->files->context, from, s->work.turn, size) != 0) {
            fail(s, EK_DELTA_IO);
            return;
        }
        from += size;
        for (column = 0; column < g->columns; column++) {
            for (row = 0; row < g->rows; row++) {
                uint32_t at = (row * (uint32_t)g->columns + column) * g->width;
                for (part = 0; part < g->width; part++) put(s, s->work.turn[at + part]);
            }
        }
    }
}

static uint32_t class_of(uint32_t lately) {
    uint32_t length = 0;
    while (lately >> length) length++;
    return length > 1u ? 2u * length + (lately >> (length - 2u) & 1u) : length;
}

static void make_tensor(ek_delta *s, const segment *g) {
    uint32_t kind = g->width == 1u ? 0u : g->width == 2u ? 1u : 2u, sign = 8u * g->width - 1u;
    uint32_t lengths = TENSORS + kind * TENSOR_MODELS, lately = 0, part;
    uint32_t prefixes = lengths + CLASSES * NUMBER_LENGTHS, signs = prefixes + NUMBER_PREFIXES;
    uint64_t index;
    open_base(s, g);
    for (index = 0; index < g->length && s->error == EK_DELTA_OK; index += g->width) {
        uint32_t before = 0, set = g->steady ? CLASSES - 1u : class_of(lately);
        uint64_t size;
        for (part = 0; part < g->width; part++) {
            before |= (uint32_t)(uint8_t)base_byte(s) << (8u * part);
        }
        size = number(s, lengths + set * NUMBER_LENGTHS, prefixes);
        if (size > 0) {
            uint32_t by = (uint32_t)size;
            before = bit(s, signs + (before >> sign)) ? before - by : before + by;
        }
        for (part = 0; part < g->width; part++) put(s, (uint8_t)(before >> (8u * part)));
        if (size > 255u) size = 255u;
        lately += ((uint32_t)size << 4) - (lately >> 4);
    }
}

static void make_text(ek_delta *s, const segment *g) {
    uint64_t end = s->done + g->length, left;
    uint32_t history = 0;
    int expected;
    open_base(s, g);
    expected = base_byte(s);
    while (s->done < end && s->error == EK_DELTA_OK) {
        uint64_t kind = 1;
        if (expected >= 0) {
            uint32_t hit = bit(s, HITS + (history << 3 | (uint32_t)expected >> 5));
            history = (history << 1 | hit) & 15u;
            if (hit) {
                put(s, (uint8_t)expected);
                expected = base_byte(s);
                continue;
            }
            kind = number(s, KINDS, KINDS + NUMBER_LENGTHS);
            if (kind > 1u) {
                for (left = kind - 2u; left > 0 && expected >= 0; left--) expected = base_byte(s);
                if (expected < 0) {
                    fail(s, EK_DELTA_DAMAGED);
                    return;
                }
                expected = base_byte(s);
                continue;
            }
        }
        put(s, coded_byte(s, TEXTS + ((expected < 0 ? 0u : (uint32_t)expected) >> 6) * BYTE_MODELS));
        if (kind == 0) expected = base_byte(s);
    }
}

static uint32_t four_before(const uint8_t *ring, uint32_t place) {
    uint32_t word = 0, back;
    for (back = 4; back > 0; back--) {
        word = word << 8 | ring[(place + EK_DELTA_RING - back) % EK_DELTA_RING];
    }
    return word;
}

static void make_literal(ek_delta *s, const segment *g) {
    uint8_t before[4] = {0, 0, 0, 0}, *ring = s->work.echo.ring;
    uint16_t *heads = s->work.echo.heads;
    uint32_t at = 0, follow = 0, word = 0, luck = MOST_HITS + MISSES;
    int expected = -1;
    uint64_t index;
    memset(&s->work.echo, 0, sizeof s->work.echo);
    for (index = 0; index < g->length && s->error == EK_DELTA_OK; index++) {
        uint32_t place = (uint32_t)(index % g->width), head;
        uint32_t hit = expected >= 0 ? bit(s, ECHOES + luck) : 0u;
        uint8_t byte;
        if (hit) {
            byte = (uint8_t)expected;
        } else {
            uint32_t plane = place * 4u + (before[place] >> 6);
            if (g->back) plane = ring[(at + EK_DELTA_RING - g->back) % EK_DELTA_RING] >> 4;
            byte = coded_byte(s, LITERALS + plane * BYTE_MODELS);
        }
        before[place] = byte;
        put(s, byte);
        ring[at] = byte;
        at = (at + 1u) % EK_DELTA_RING;
        word = word << 8 | byte;
        head = word * 0x9e3779b1u >> 21;
        if (expected >= 0) follow = (follow + 1u) % EK_DELTA_RING;
        if (hit) {
            luck = luck > MOST_HITS ? 1u : luck < MOST_HITS ? luck + 1u : MOST_HITS;
        } else {
            luck = (luck > MOST_HITS ? luck : MOST_HITS) + 1u;
            if (four_before(ring, heads[head]) == word) {
                follow = heads[head];
                luck = 0;
            }
        }
        heads[head] = (uint16_t)at;
        expected = luck <= MOST_HITS + MISSES ? ring[follow] : -1;
    }
}

static void read_head(ek_delta *s, segment *g, int64_t follows) {
    memset(g, 0, sizeof *g);
    g->width = 1;
    g->rows = g->columns = 1;
    g->method = coded_byte(s, METHODS) & 7u;
    if (g->method > LITERAL) fail(s, EK_DELTA_DAMAGED);
    g->length = field(s, 0);
    if (g->method == TURNED) {
        g->offset = (int64_t)field(s, 1);
    } else if (g->method != LITERAL) {
        g->offset = follows + signed_field(s, 2);
    }
    if (g->method == TEXT) {
        g->extent = (int64_t)g->length + signed_field(s, 3);
    } else if (g->method != LITERAL) {
        g->extent = (int64_t)g->length;
    }
    if (g->method != BASE && g->method != TEXT) {
        uint64_t width = field(s, 4);
        g->width = width == 1u || width == 2u || width == 4u ? (uint32_t)width : 0u;
    }
    if (g->method == TENSOR) g->steady = field(s, 5) != 0u;
    if (g->method == TURNED) {
        g->rows = field(s, 6);
        g->columns = field(s, 7);
    }
    if (g->method == LITERAL) {
        uint64_t back = field(s, 8);
        g->back = back <= MOST_BACK ? (uint32_t)back : MOST_BACK + 1u;
    }
}

static int sound(const ek_delta *s, const segment *g) {
    int64_t known = g->method == TURNED ? (int64_t)s->done : (int64_t)s->base_bytes;
    uint64_t element;
    if (g->width == 0u || g->back > MOST_BACK) return 0;
    if (g->length == 0u || g->length > s->new_bytes - s->done) return 0;
    if (g->offset < 0 || g->offset > known) return 0;
    if (g->extent < 0 || g->extent > known - g->offset) return 0;
    if (g->rows > EK_DELTA_LARGEST_TURN || g->columns > EK_DELTA_LARGEST_TURN) return 0;
    element = g->rows * g->columns * g->width;
    if (element == 0u || element > EK_DELTA_LARGEST_TURN) return 0;
    return g->method == LITERAL || g->length % element == 0u;
}

static void run(ek_delta *s) {
    int64_t follows = 0;
    segment g;
    while (s->done < s->new_bytes && s->error == EK_DELTA_OK) {
        read_head(s, &g, follows);
        if (s->error != EK_DELTA_OK || !sound(s, &g)) {
            fail(s, EK_DELTA_DAMAGED);
            return;
        }
        switch (g.method) {
        case BASE: make_base(s, &g); break;
        case TURNED: make_turned(s, &g); break;
        case TENSOR: make_tensor(s, &g); break;
        case TEXT: make_text(s, &g); break;
        default: make_literal(s, &g); break;
        }
        if (g.method != TURNED && g.method != LITERAL) follows = g.offset + g.extent;
    }
    if (s->error == EK_DELTA_OK && (s->input_at < s->input_end || fill(s))) {
        fail(s, EK_DELTA_DAMAGED);
    }
}

static uint32_t word_of(ek_delta *s) {
    uint32_t word = next_byte(s);
    word |= next_byte(s) << 8;
    word |= next_byte(s) << 16;
    return word | next_byte(s) << 24;
}

int ek_delta_apply(ek_delta *s, const ek_delta_files *files, uint32_t base_bytes,
                   uint32_t new_bytes) {
    uint32_t index;
    memset(s, 0, sizeof *s);
    s->files = files;
    s->base_bytes = base_bytes;
    s->new_bytes = new_bytes;
    for (index = 0; index < EK_DELTA_MODELS; index++) s->chances[index] = 32768;
    if (word_of(s) != 0x31444b45u || word_of(s) != base_bytes || word_of(s) != new_bytes) {
        fail(s, EK_DELTA_DAMAGED);
    }
    s->high = 0xffffffffu;
    for (index = 0; index < 4u; index++) s->code = s->code << 8 | next_byte(s);
    if (s->error == EK_DELTA_OK) run(s);
    return s->error;
}

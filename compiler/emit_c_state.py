"""What generated C of a stream remembers: int16 beside the arena, one call's after the other's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from .emit_c_layer import Layer

STATE_BYTES = 2  # of an int16
WORD_BYTES = 8  # the arena is made of 64-bit words, so that it is aligned in plain C99


def context(layers: tuple[Layer, ...]) -> Iterator[str]:
    """The struct, and for a stream the declaration of what brings it to its beginning."""
    arena = f"    int64_t arena[MODEL_ARENA_SIZE / {WORD_BYTES}];\n"
    state_bytes = sum(call.state_bytes for call in layers)
    if not state_bytes:
        yield "/* All memory of one instance; needs no initialisation. */\n"
        yield f"typedef struct {{\n{arena}}} model;\n\n"
        return
    yield "/* what the model remembers of the frames before, in bytes */\n"
    yield f"#define MODEL_STATE_SIZE {state_bytes}\n\n/* All memory of one instance. */\n"
    yield f"typedef struct {{\n{arena}    int16_t state[MODEL_STATE_SIZE / {STATE_BYTES}];\n"
    yield "} model;\n\n"
    yield "/* Before the first invoke, and wherever a new recording begins: forget all frames. */\n"
    yield "void model_init(model *m);\n\n"


def forget(layers: tuple[Layer, ...]) -> Iterator[str]:
    """`model_init`, where a call remembers."""
    if any(call.state_bytes for call in layers):
        yield "void model_init(model *m) {\n"
        yield f"    for (int32_t i = 0; i < MODEL_STATE_SIZE / {STATE_BYTES}; i++) {{\n"
        yield "        m->state[i] = 0;\n    }\n}\n\n"


def state_arguments(layers: tuple[Layer, ...]) -> Mapping[str, str]:
    """The last argument of each call by its output; nothing for calls that remember nothing."""
    ends = accumulate(call.state_bytes // STATE_BYTES for call in layers)
    return {
        call.output: f", m->state + {end - call.state_bytes // STATE_BYTES}"
        if call.state_bytes
        else ""
        for call, end in zip(layers, ends, strict=True)
    }

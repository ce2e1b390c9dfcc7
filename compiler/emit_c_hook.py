"""The hook after each layer of generated C: nothing, unless the application names a function."""

from __future__ import annotations

from collections.abc import Iterator

from .emit_c_layer import Layer
from .emit_c_text import quoted
from .graph import Graph
from .plan_memory import MemoryPlan

HOOK_INTERFACE = """\
/* Where every file is compiled with -DMODEL_LAYER_HOOK=NAME, the application's function NAME is
 * called after each layer, before another overwrites its output: to print, time or compare. Without
 * it there is no hook and no cost. */
#ifdef MODEL_LAYER_HOOK
typedef struct {
    const char *name, *remark; /* remark has shapes and source */
    int32_t offset, size;      /* the output: bytes of the arena */
} model_layer;

void MODEL_LAYER_HOOK(const model *m, const model_layer *layer);
#endif
"""
"""What model.h says of it."""


def hook_table(graph: Graph, plan: MemoryPlan, layers: tuple[Layer, ...]) -> Iterator[str]:
    """What model.c has of it: the layers' names and places, and LAYER_DONE(index)."""
    if not layers:
        return
    yield "#ifdef MODEL_LAYER_HOOK\nstatic const model_layer layers[MODEL_LAYERS] = {\n"
    for call in layers:
        place = f"{plan.offsets[call.output]}, {graph.values[call.output].nbytes}"
        yield f"    {{{quoted(call.symbol)}, {quoted(call.remark)}, {place}}},\n"
    yield "};\n#define LAYER_DONE(index) MODEL_LAYER_HOOK(m, &layers[index])\n"
    yield "#else\n#define LAYER_DONE(index) ((void)0)\n#endif\n\n"

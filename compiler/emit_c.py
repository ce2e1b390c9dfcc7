"""`emit_c`: a quantized graph as a folder of C99 that needs nothing but a compiler.

model.h is the whole interface: a context struct that holds every activation, and three functions;
a model that remembers frames has a fourth, which makes it forget them.
Nothing is allocated, nothing is global but constants, so any number of contexts can run at once.
Layers are calls of the kernels in c/, of which only those in use are copied. Families of kernels
differ in speed alone: outputs equal `reference.run_int8` byte for byte; main.c proves it wherever
it runs, on the golden vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from .emit_c_arena import C_TYPES, call_arguments, views
from .emit_c_family import Family
from .emit_c_hook import HOOK_INTERFACE, hook_table
from .emit_c_layer import Constant, Layer
from .emit_c_plan import planned
from .emit_c_sources import kernel_files, main_file
from .emit_c_state import context, forget, state_arguments
from .emit_c_text import array, comment, float_literal, matrix, statement
from .errors import EmitError
from .graph import Array, DType, Graph, Value
from .numerics import is_quantized
from .plan_memory import MemoryPlan
from .reference import run_int8
from .streams import remembered_bytes


@dataclass(frozen=True)
class CSources:
    """Files by name, ready to be compiled together: `cc -std=c99 *.c`."""

    files: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Write every file into `folder`, which exists."""
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


def emit_c(graph: Graph, golden: Array, family: Family = Family.PORTABLE) -> CSources:
    """C99 of an int8 or int16x8 `graph`, with golden inputs (n, …), n ≥ 1, and their outputs.

    `golden` has the format of the graph's input. `emit_c_family.family_of_core` says which
    `family` is fastest on a core.

    Raises EmitError where the graph is not quantized, an operator has no kernel, or `golden` does
    not fit the input.
    """
    x = graph.input
    if not is_quantized(graph):
        raise EmitError(f"{graph.name}: C needs an int8 or int16 graph, this one is {x.dtype}")
    if golden.dtype != x.dtype.numpy or len(golden) == 0 or golden.shape[1:] != x.shape[1:]:
        raise EmitError(
            f"{graph.name}: golden inputs are {golden.dtype} {golden.shape}, "
            f"C needs {x.dtype} (n, {', '.join(map(str, x.shape[1:]))}) with n >= 1"
        )
    layers, plan = planned(graph, family)
    texts = {
        "model.h": "".join(_model_h(graph, plan, layers)),
        "model.c": "".join(_model_c(graph, plan, layers)),
        "weights.h": "".join(_weights_h(layers)),
        "weights.c": "".join(_weights_c(layers)),
        "golden.h": "".join(_golden_h(graph, golden)),
    }
    files = {name: text.encode("ascii") for name, text in texts.items()}
    files |= kernel_files(
        _all(call.kernels for call in layers), _all(call.headers for call in layers)
    )
    files["main.c"] = main_file()
    return CSources(MappingProxyType(dict(sorted(files.items()))))


@dataclass(frozen=True, slots=True)
class CSizes:
    """Bytes of a context and of the parameters, without the code that works with them."""

    arena_bytes: int
    constant_bytes: int


def c_sizes(graph: Graph, family: Family = Family.PORTABLE) -> CSizes:
    """What C of the quantized `graph` needs, before it is written. Raises EmitError as `emit_c`."""
    layers, plan = planned(graph, family)
    constants = (constant.nbytes for call in layers for constant in call.constants)
    return CSizes(plan.arena_bytes + remembered_bytes(graph), sum(constants))


def memory_plan(graph: Graph, family: Family = Family.PORTABLE) -> MemoryPlan:
    """Memory of a context of `graph`, scratch included; what a stream remembers comes on
    top (`streams.remembered_bytes`). Raises EmitError as `emit_c`."""
    return planned(graph, family)[1]


def _all(names: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*names)


def _model_h(graph: Graph, plan: MemoryPlan, layers: tuple[Layer, ...]) -> Iterator[str]:
    kinds = " and ".join(sorted({v.dtype for v in graph.values.values() if _is_activation(v)}))
    yield f"/* {comment(graph.name)}: {kinds} inference. real = scale * (q - zero point). */\n"
    yield "#ifndef MODEL_H\n#define MODEL_H\n\n#include <stdint.h>\n\n"
    for end, value in (("INPUT", graph.input), ("OUTPUT", graph.output)):
        yield f"/* {' x '.join(map(str, value.shape[1:]))} */\n"
        yield f"#define MODEL_{end}_SIZE {value.elements}\n"
        if value.quant is not None:
            yield f"#define MODEL_{end}_SCALE {float_literal(value.quant.scale[0])}\n"
            yield f"#define MODEL_{end}_ZERO_POINT ({value.quant.zero_point[0]})\n"
    yield from _arena(plan)
    yield f"/* calls that an inference makes */\n#define MODEL_LAYERS {len(layers)}\n\n"
    yield "/* Elements of the input and of the output. */\n"
    yield f"typedef {_c_type(graph.input)} model_input_type;\n"
    yield f"typedef {_c_type(graph.output)} model_output_type;\n\n"
    yield from context(layers)
    yield "/* MODEL_INPUT_SIZE elements to fill before each invoke, which overwrites them. */\n"
    yield f"{_c_type(graph.input)} *model_input(model *m);\n\n"
    yield "/* Computes the output; as many instances as there are contexts can run at once. */\n"
    yield "void model_invoke(model *m);\n\n"
    yield "/* MODEL_OUTPUT_SIZE elements, valid until the input is filled again. */\n"
    yield f"const {_c_type(graph.output)} *model_output(const model *m);\n\n"
    yield f"{HOOK_INTERFACE}\n#endif\n"


def _arena(plan: MemoryPlan) -> Iterator[str]:
    yield "/* Bytes of activations and, between them, of scratch; the most of it in one call;\n"
    yield " * the least that any plan in this order could do with. */\n"
    yield f"#define MODEL_ARENA_SIZE {plan.arena_bytes}\n"
    yield f"#define MODEL_SCRATCH_SIZE {plan.scratch_bytes}\n"
    yield f"#define MODEL_ARENA_BOUND {plan.lower_bound_bytes}\n\n"


def _is_activation(value: Value) -> bool:
    return value.data is None and value.quant is not None


def _c_type(value: Value) -> str:
    return C_TYPES[value.dtype]


def _model_c(graph: Graph, plan: MemoryPlan, layers: tuple[Layer, ...]) -> Iterator[str]:
    headers = "".join(f'#include "{name}"\n' for name in sorted(_all(c.headers for c in layers)))
    yield f'#include "model.h"\n\n{headers}#include "weights.h"\n\n'
    for call in layers:
        declaration = f"static const {call.params_type} {call.symbol}"
        yield (call.definition or statement(declaration, call.params)) + "\n"
    yield f"{_c_type(graph.input)} *model_input(model *m) {{\n"
    yield f"    return {_end(graph.input, plan, '')};\n}}\n\n"
    yield f"const {_c_type(graph.output)} *model_output(const model *m) {{\n"
    yield f"    return {_end(graph.output, plan, 'const ')};\n}}\n\n"
    yield from hook_table(graph, plan, layers)
    yield from forget(layers)
    yield f"void model_invoke(model *m) {{\n{views(graph, layers)}"
    states = state_arguments(layers)
    for index, call in enumerate(layers):
        first = "" if call.definition else f"&{call.symbol}, "
        yield f"    /* {comment(call.remark)} */\n"
        places = f"{call_arguments(graph, plan, call)}{states[call.output]}"
        yield f"    {call.kernel}({first}{places});\n"
        yield f"    LAYER_DONE({index});\n"
    yield "}\n" if layers else "    (void)m;\n}\n"


def _end(value: Value, plan: MemoryPlan, qualifier: str) -> str:
    offset = plan.offsets[value.name] // value.dtype.numpy.itemsize
    return f"({qualifier}{_c_type(value)} *)m->arena + {offset}"


def _weights_h(layers: tuple[Layer, ...]) -> Iterator[str]:
    yield "#ifndef WEIGHTS_H\n#define WEIGHTS_H\n\n#include <stdint.h>\n\n"
    for constant in _constants(layers):
        size = len(constant.literals)
        yield f"extern const {constant.c_type} {constant.name}[{size}];\n"
    yield "\n#endif\n"


def _weights_c(layers: tuple[Layer, ...]) -> Iterator[str]:
    yield '#include "weights.h"\n'
    for constant in _constants(layers):
        declaration = f"const {constant.c_type} {constant.name}[{len(constant.literals)}]"
        yield "\n" + array(declaration, constant.literals)


def _constants(layers: tuple[Layer, ...]) -> dict[Constant, None]:
    """Each array once: some tables serve several layers."""
    return dict.fromkeys(constant for call in layers for constant in call.constants)


def _golden_h(graph: Graph, inputs: Array) -> Iterator[str]:
    yield "#ifndef GOLDEN_H\n#define GOLDEN_H\n\n#include <stdint.h>\n\n"
    yield '#include "model.h"\n\n'
    yield f"#define GOLDEN_COUNT {len(inputs)}\n\n"
    ends = (("input", graph.input, inputs), ("output", graph.output, run_int8(graph, inputs)))
    for name, value, rows in ends:
        size = f"[GOLDEN_COUNT][MODEL_{name.upper()}_SIZE]"
        literal = float_literal if value.dtype is DType.FLOAT32 else str
        flat = (map(literal, row) for row in rows.reshape(len(rows), -1).tolist())
        yield matrix(f"static const {_c_type(value)} golden_{name}s{size}", flat) + "\n"
    yield "#endif\n"

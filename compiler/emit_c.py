"""`emit_c`: an int8 graph as a folder of C99 that needs nothing but a compiler.

model.h is the whole interface: a context struct that holds every activation, and three functions.
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

import numpy as np
import numpy.typing as npt

from .emit_c_family import Family
from .emit_c_hook import HOOK_INTERFACE, hook_table
from .emit_c_layer import Constant, Layer
from .emit_c_plan import planned
from .emit_c_sources import kernel_files, main_file
from .emit_c_text import array, comment, float_literal, matrix, statement
from .errors import EmitError
from .graph import DType, Graph
from .int_kernels.common import params
from .plan_memory import MemoryPlan
from .reference import run_int8

_WORD_BYTES = 8  # the arena is made of 64-bit words, so that it is aligned in plain C99


@dataclass(frozen=True)
class CSources:
    """Files by name, ready to be compiled together: `cc -std=c99 *.c`."""

    files: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Write every file into `folder`, which exists."""
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


def emit_c(
    graph: Graph, golden: npt.NDArray[np.int8], family: Family = Family.PORTABLE
) -> CSources:
    """C99 of an int8 `graph`, with golden int8 inputs (n, …), n ≥ 1, and their outputs.

    `emit_c_family.family_of_core` says which `family` is fastest on a core.

    Raises EmitError where the graph is not int8, an operator has no kernel, or `golden` does not
    fit the input.
    """
    if graph.input.dtype is not DType.INT8:
        raise EmitError(f"{graph.name}: C needs an int8 graph, this one is {graph.input.dtype}")
    if golden.dtype != np.int8 or len(golden) == 0 or golden.shape[1:] != graph.input.shape[1:]:
        raise EmitError(
            f"{graph.name}: golden inputs are {golden.dtype} {golden.shape}, "
            f"C needs int8 (n, {', '.join(map(str, graph.input.shape[1:]))}) with n >= 1"
        )
    layers, plan = planned(graph, family)
    texts = {
        "model.h": "".join(_model_h(graph, plan, len(layers))),
        "model.c": "".join(_model_c(graph, plan, layers)),
        "weights.h": "".join(_weights_h(layers)),
        "weights.c": "".join(_weights_c(layers)),
        "golden.h": "".join(_golden_h(golden, run_int8(graph, golden))),
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
    """What C of the int8 `graph` needs, before it is written. Raises EmitError as `emit_c`."""
    layers, plan = planned(graph, family)
    constants = (constant.nbytes for call in layers for constant in call.constants)
    return CSizes(plan.arena_bytes, sum(constants))


def memory_plan(graph: Graph, family: Family = Family.PORTABLE) -> MemoryPlan:
    """Memory of a context of the int8 `graph`, scratch included. Raises EmitError as `emit_c`."""
    return planned(graph, family)[1]


def _all(names: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*names)


def _model_h(graph: Graph, plan: MemoryPlan, layers: int) -> Iterator[str]:
    yield f"/* {comment(graph.name)}: int8 inference. real = scale * (q - zero point). */\n"
    yield "#ifndef MODEL_H\n#define MODEL_H\n\n#include <stdint.h>\n\n"
    for end, value in (("INPUT", graph.input), ("OUTPUT", graph.output)):
        quant = params(graph, value.name)
        yield f"/* {' x '.join(map(str, value.shape[1:]))} */\n"
        yield f"#define MODEL_{end}_SIZE {value.elements}\n"
        yield f"#define MODEL_{end}_SCALE {float_literal(quant.scale[0])}\n"
        yield f"#define MODEL_{end}_ZERO_POINT ({quant.zero_point[0]})\n"
    yield from _arena(plan)
    yield f"/* calls that an inference makes */\n#define MODEL_LAYERS {layers}\n\n"
    yield "/* All memory of one instance; needs no initialisation. */\n"
    yield f"typedef struct {{\n    int64_t arena[MODEL_ARENA_SIZE / {_WORD_BYTES}];\n}} model;\n\n"
    yield "/* MODEL_INPUT_SIZE elements to fill before each invoke, which overwrites them. */\n"
    yield "int8_t *model_input(model *m);\n\n"
    yield "/* Computes the output; as many instances as there are contexts can run at once. */\n"
    yield "void model_invoke(model *m);\n\n"
    yield "/* MODEL_OUTPUT_SIZE elements, valid until the input is filled again. */\n"
    yield "const int8_t *model_output(const model *m);\n\n"
    yield f"{HOOK_INTERFACE}\n#endif\n"


def _arena(plan: MemoryPlan) -> Iterator[str]:
    yield "/* Bytes of activations and, between them, of scratch; the most of it in one call;\n"
    yield " * the least that any plan in this order could do with. */\n"
    yield f"#define MODEL_ARENA_SIZE {plan.arena_bytes}\n"
    yield f"#define MODEL_SCRATCH_SIZE {plan.scratch_bytes}\n"
    yield f"#define MODEL_ARENA_BOUND {plan.lower_bound_bytes}\n\n"


def _model_c(graph: Graph, plan: MemoryPlan, layers: tuple[Layer, ...]) -> Iterator[str]:
    headers = "".join(f'#include "{name}"\n' for name in sorted(_all(c.headers for c in layers)))
    yield f'#include "model.h"\n\n{headers}#include "weights.h"\n\n'
    for call in layers:
        declaration = f"static const {call.params_type} {call.symbol}"
        yield (call.definition or statement(declaration, call.params)) + "\n"
    yield "int8_t *model_input(model *m) {\n"
    yield f"    return (int8_t *)m->arena + {plan.offsets[graph.inputs[0]]};\n}}\n\n"
    yield "const int8_t *model_output(const model *m) {\n"
    yield f"    return (const int8_t *)m->arena + {plan.offsets[graph.outputs[0]]};\n}}\n\n"
    yield from hook_table(graph, plan, layers)
    yield "void model_invoke(model *m) {\n    int8_t *arena = (int8_t *)m->arena;\n"
    for index, call in enumerate(layers):
        scratch = f", arena + {plan.scratch[call.output]}" if call.scratch_bytes else ""
        places = f"{_operands(plan, call)}, arena + {plan.offsets[call.output]}{scratch}"
        yield f"    /* {comment(call.remark)} */\n"
        first = "" if call.definition else f"&{call.symbol}, "
        yield f"    {call.kernel}({first}{places});\n    LAYER_DONE({index});\n"
    yield "}\n" if layers else "    (void)arena;\n}\n"


def _operands(plan: MemoryPlan, call: Layer) -> str:
    places = ", ".join(
        operand.name if isinstance(operand, Constant) else f"arena + {plan.offsets[operand]}"
        for operand in call.operands
    )
    return f"(const int8_t *const[]){{{places}}}" if call.listed else places


def _weights_h(layers: tuple[Layer, ...]) -> Iterator[str]:
    yield "#ifndef WEIGHTS_H\n#define WEIGHTS_H\n\n#include <stdint.h>\n\n"
    for constant in (constant for call in layers for constant in call.constants):
        size = len(constant.literals)
        yield f"extern const {constant.c_type} {constant.name}[{size}];\n"
    yield "\n#endif\n"


def _weights_c(layers: tuple[Layer, ...]) -> Iterator[str]:
    yield '#include "weights.h"\n'
    for constant in (constant for call in layers for constant in call.constants):
        declaration = f"const {constant.c_type} {constant.name}[{len(constant.literals)}]"
        yield "\n" + array(declaration, constant.literals)


def _golden_h(inputs: npt.NDArray[np.int8], outputs: npt.NDArray[np.int8]) -> Iterator[str]:
    yield "#ifndef GOLDEN_H\n#define GOLDEN_H\n\n#include <stdint.h>\n\n"
    yield '#include "model.h"\n\n'
    yield f"#define GOLDEN_COUNT {len(inputs)}\n\n"
    for name, rows in (("input", inputs), ("output", outputs)):
        size = f"[GOLDEN_COUNT][MODEL_{name.upper()}_SIZE]"
        flat = rows.reshape(len(rows), -1).tolist()
        yield matrix(f"static const int8_t golden_{name}s{size}", flat) + "\n"
    yield "#endif\n"

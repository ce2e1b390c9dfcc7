"""A graph as `ModelFacts`: what a torch.export file becomes, and the arena of anything imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .errors import ImportModelError, UnsupportedOpError
from .graph import Graph, Node, Value
from .inspect_facts import (
    LayerDescription,
    ModelFacts,
    histogram,
    quantization_text,
    tensor_text,
)
from .plan import plan_arena
from .streams import variable_bytes
from .workload import workload


def read_program(path: Path) -> ModelFacts:
    """The graph that would be compiled; a model that cannot be, is described as torch has it.

    Raises:
        ImportModelError: the file cannot be read.
    """
    from .importers.torch_export import import_torch, load_program
    from .passes import optimize

    program = load_program(path)
    try:
        return graph_facts(optimize(import_torch(program, path.stem)))
    except UnsupportedOpError as error:
        rows = tuple(_torch_layer(node) for node in program.graph.nodes if _calls(node))
        remark = f"cannot be compiled: {error}"
        return ModelFacts("", "", rows, (remark, f"{len(rows)} torch operators"))


def graph_facts(graph: Graph) -> ModelFacts:
    """Every node as a layer, in order."""
    work = workload(graph)
    rows = tuple(
        _layer(graph, node, layer.macs)
        for node, layer in zip(graph.nodes, work.layers, strict=True)
    )
    arena = plan_arena(graph).arena_bytes + variable_bytes(graph)
    return ModelFacts(_value_text(graph.input), _value_text(graph.output), rows, (), arena)


def planned(load: Callable[[], Graph]) -> tuple[int | None, tuple[str, ...]]:
    """Arena and variables of what `load` imports, or the remark that says why there are none."""
    try:
        graph = load()
        return plan_arena(graph).arena_bytes + variable_bytes(graph), ()
    except ImportModelError as error:
        return None, (f"cannot be compiled: {error}",)


def _layer(graph: Graph, node: Node, macs: int) -> LayerDescription:
    output = graph.values[node.output]
    operands = [graph.values[name] for name in node.inputs]
    constants = [value for value in operands if value.data is not None]
    weights = constants[0] if constants else None
    return LayerDescription(
        name=node.name,
        op=node.op.value,
        shape=output.shape,
        dtype=output.dtype.value,
        macs=macs,
        weight_bytes=sum(value.nbytes for value in constants),
        quantization=_quantization(output),
        inputs=tuple(value.name for value in operands if value.data is None),
        output=output.name,
        weights="" if weights is None else _weights_text(weights),
        histogram=None if weights is None else histogram(weights.data),
    )


def _weights_text(value: Value) -> str:
    return tensor_text("", value.shape, value.dtype.value, _quantization(value)).strip()


def _value_text(value: Value) -> str:
    return tensor_text(value.name, value.shape, value.dtype.value, _quantization(value))


def _quantization(value: Value) -> str:
    quant = value.quant
    return "" if quant is None else quantization_text(quant.scale, quant.zero_point)


def _calls(node: object) -> bool:
    return getattr(node, "op", "") == "call_function"


def _torch_layer(node: object) -> LayerDescription:
    """A free batch axis counts as 1."""
    value = getattr(node, "meta", {}).get("val")
    shape = tuple(size if isinstance(size, int) else 1 for size in getattr(value, "shape", ()))
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    name = str(getattr(node, "name", ""))
    inputs = tuple(str(each) for each in getattr(node, "all_input_nodes", ()))
    op = str(getattr(node, "target", ""))
    return LayerDescription(name, op, shape, dtype, 0, 0, "", inputs, name)

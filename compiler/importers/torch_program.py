"""Reads an exported program node by node: constants are computed, the rest becomes the graph.

A free batch axis counts as 1. What depends on constants alone (masks, zero states, reordered
weights) is run by torch itself and stays a constant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GrammarError, ImportModelError, UnsupportedOpError
from ..graph import Array
from ..shapes import Shape
from .layout import Frame, Imported, NoWordError, Plan, Source, Tensor

if TYPE_CHECKING:
    import torch

WAYS_OUT = (
    "use convolutions, linear layers, pools, norms, the usual activations, LSTM, GRU, attention, "
    "reductions, views and element-wise arithmetic instead, or move it out of the model"
)

_DIFFER_IN_TRAINING = frozenset(
    {
        "aten.batch_norm.default",
        "aten.dropout.default",
        "aten.dropout_.default",
        "aten.feature_dropout.default",
        "aten.native_dropout.default",
        "aten.lstm.input",
        "aten.gru.input",
    }
)


class UnknownOperatorError(UnsupportedOpError):
    """There is no handler; the operator may still be made of known ones."""


def input_of(program: torch.export.ExportedProgram, name: str) -> Source:
    """The one input, its free batch axis 1. Raises ImportModelError where there are others."""
    signature = program.graph_signature
    inputs, outputs = tuple(signature.user_inputs), tuple(signature.user_outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ImportModelError(
            f"{name}: a model has one input and one output, this one has {len(inputs)} and "
            f"{len(outputs)}; wrap it in a module that has"
        )
    node = _input_node(program)
    sizes = node.meta["val"].shape
    free = [axis for axis, size in enumerate(sizes) if not isinstance(size, int)]
    if free and free != [0]:
        raise ImportModelError(
            f"{name}: axis {free[-1]} of the input has no fixed length; "
            "export it with one, only the first may be free"
        )
    return Source(str(inputs[0]), _shape(node.meta["val"]))


def refuse_integers(program: torch.export.ExportedProgram, name: str) -> None:
    """Samples are float32: ImportModelError for an input of another dtype."""
    dtype = _input_node(program).meta["val"].dtype
    if str(dtype) != "torch.float32":
        raise ImportModelError(f"{name}: the input is {dtype}; samples are float32, export it so")


def _input_node(program: torch.export.ExportedProgram) -> torch.fx.Node:
    wanted = program.graph_signature.user_inputs[0]
    nodes: Iterable[torch.fx.Node] = program.graph.nodes
    return next(node for node in nodes if node.name == wanted)


def refuse_training_mode(program: torch.export.ExportedProgram, name: str) -> None:
    """A module exported in training mode updates its statistics: UnsupportedOpError."""
    from .torch_ops.call import bound

    for node in program.graph.nodes:
        if str(node.target) in _DIFFER_IN_TRAINING:
            args = bound(node)
            recurrent = "dropout" in args and not args["dropout"]
            if (args.get("training") or args.get("train")) and not recurrent:
                what = f"'{node.target}' in training mode (call .eval() before the export)"
                raise _unsupported(UnsupportedOpError, name, node, what)


class ProgramReader:
    """One attempt to write the graph under one plan of the layout."""

    def __init__(
        self, program: torch.export.ExportedProgram, name: str, source: Source, plan: Plan
    ) -> None:
        self._program = program
        self._name = name
        self._source = source
        self._frame = Frame(name, [source], plan)
        self._output = str(next(iter(program.graph_signature.user_outputs)))
        self._constants = _lifted_tensors(program)
        self._known: dict[str, Any] = {}

    def read(self) -> Imported:
        """The graph. Raises UnsupportedOpError, and what the layout asks another plan by."""
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._open(node)
            elif node.op == "call_function" and node.users and _gives_tensors(node):
                self._frame.source = place(node)
                self._known[node.name] = self._call(node)
        result = self._known.get(self._output)
        if not isinstance(result, Tensor):
            raise ImportModelError(f"{self._name}: the output does not depend on the input")
        return self._frame.finish([(self._output, result)])

    def _open(self, node: torch.fx.Node) -> None:
        if node.name == self._source.name:
            self._known[node.name] = self._frame.input(node.name)
        elif node.name in self._constants:
            self._known[node.name] = self._constants[node.name]

    def _call(self, node: torch.fx.Node) -> Any:
        from .torch_ops import HANDLERS
        from .torch_ops.call import Call, bound

        operands = [self._resolve(part, node) for part in node.all_input_nodes]
        if not any(isinstance(part, Tensor | list) for part in operands):
            return self._evaluate(node)
        handler = HANDLERS.get(str(node.target))
        if handler is None:
            raise _unsupported(UnknownOperatorError, self._name, node, f"operator '{node.target}'")
        args = {key: self._resolve(value, node) for key, value in bound(node).items()}
        value = node.meta.get("val")
        shapes = tuple(
            _shape(part) for part in (value if isinstance(value, list | tuple) else [value])
        )
        call = Call(self._frame, str(node.target), args, shapes, node.name == self._output)
        try:
            result = handler(call)
            _check(call, result)
        except (NoWordError, GrammarError) as error:
            raise _unsupported(UnsupportedOpError, self._name, node, str(error)) from error
        return result

    def _resolve(self, argument: Any, node: torch.fx.Node) -> Any:
        """What an argument stands for: an operand, a number, or a list of those."""
        if isinstance(argument, list | tuple):
            return [self._resolve(part, node) for part in argument]
        if hasattr(argument, "all_input_nodes"):
            if argument.name in self._known:
                return self._known[argument.name]
            value = argument.meta.get("val")
            if value is None or hasattr(value, "shape"):
                raise _unsupported(UnsupportedOpError, self._name, node, f"'{node.target}' of it")
            return _size(value)
        return argument

    def _evaluate(self, node: torch.fx.Node) -> Any:
        """What torch computes of constants."""
        import torch

        def to_torch(argument: Any) -> Any:
            if isinstance(argument, list):
                return [to_torch(part) for part in argument]
            if isinstance(argument, np.ndarray):
                return torch.from_numpy(argument.copy())
            return argument

        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            what = f"'{node.target}', which gives random numbers,"
            raise _unsupported(UnsupportedOpError, self._name, node, what)
        args = [to_torch(self._resolve(argument, node)) for argument in node.args]
        named = {key: to_torch(self._resolve(value, node)) for key, value in node.kwargs.items()}
        assert callable(node.target)
        with torch.no_grad():
            result = node.target(*args, **named)
        if isinstance(result, torch.Tensor):
            return _array(result)
        return [_array(part) for part in result]


def place(node: torch.fx.Node) -> str:
    """The module path where `node` comes from, or its name at the top level."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = str(stack[-1][0]).removeprefix("L['self'].").removeprefix("L['self']") if stack else ""
    return path or node.name


def _unsupported(
    kind: type[UnsupportedOpError], name: str, node: torch.fx.Node, what: str
) -> UnsupportedOpError:
    line = _source_line(node)
    return kind(f"{name}: {what} at '{place(node)}'{line} is unknown; {WAYS_OUT}")


def _source_line(node: torch.fx.Node) -> str:
    """` (net.py, line 12)`: the last line outside of torch that led to `node`."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(path, line) for path, line in frames if "torch" not in Path(path).parts]
    return f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""


def _gives_tensors(node: torch.fx.Node) -> bool:
    """Sizes and assertions about a free batch axis give none."""
    value = node.meta.get("val")
    return hasattr(value, "shape") or isinstance(value, tuple | list)


def _check(call: Any, result: Any) -> None:
    """Hold the shapes that a handler gives against torch's."""
    results = result if isinstance(result, list) else [result]
    for found, expected in zip(results, call.shapes, strict=False):
        if found is not None and tuple(found.shape) != expected:
            raise NoWordError(f"'{call.target}' to shape {expected}")


def _shape(tensor: Any) -> Shape:
    return tuple(_size(size) for size in tensor.shape) if hasattr(tensor, "shape") else ()


def _size(value: Any) -> Any:
    """A number; free ones are as for a batch of 1."""
    node = getattr(value, "node", None)
    if node is None:
        return value
    expression = node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, 1)))


def _lifted_tensors(program: torch.export.ExportedProgram) -> Mapping[str, Array]:
    """Weights, buffers and constants by the name of their placeholder."""
    signature = program.graph_signature
    targets = (
        dict(signature.inputs_to_parameters)
        | dict(signature.inputs_to_buffers)
        | dict(signature.inputs_to_lifted_tensor_constants)
    )
    tensors: dict[str, Array] = {}
    for placeholder, target in targets.items():
        tensor = program.state_dict.get(target, program.constants.get(target))
        if tensor is not None:
            tensors[placeholder] = _array(tensor)
    return tensors


def _array(tensor: torch.Tensor) -> Array:
    """Numbers of a tensor; half precision becomes float32."""
    import torch

    known = tensor.detach().cpu()
    if known.dtype in (torch.float16, torch.bfloat16):
        known = known.float()
    return np.asarray(known.numpy())

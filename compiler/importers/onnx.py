"""ONNX: a float32 model, or the float32 model behind a QDQ one, as a graph.

Layout is settled by `layout`. What constants alone decide (shapes, axes, folded weights) is
computed here; a model that quantizes and dequantizes between its operators becomes the float model
that it stands for, to be quantized anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import GrammarError, ImportModelError, UnsupportedOpError
from ..grammar import check
from ..graph import Array
from .layout import Frame, Imported, NoWordError, Operand, Plan, Source, Tensor, solve
from .onnx_file import MOST_ELEMENTS, MOST_RANK, OnnxModel, OnnxNode, one_line, read_onnx

WAYS_OUT = (
    "replace it before you export, compute it outside of the model, or end the model before it"
)
_NEWEST_MEANING = 28  # operators changed later are refused until somebody has read them
_IMAGE_RANK = 4  # that images are read channels last goes without saying
_MOST_CONSTANT_ELEMENTS = 1 << 28
_DAMAGES = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    StopIteration,
    MemoryError,
    AssertionError,
)
"""What numpy and Python raise where a damaged node's operands do not fit each other."""


@dataclass(frozen=True, slots=True)
class Quantized:
    """What QuantizeLinear gives: the float operand that it was made of."""

    x: Operand


@dataclass(frozen=True, slots=True)
class Indices:
    """What ArgMax gives: integers, which float operators cannot read."""

    x: Tensor


Entry = Operand | Quantized | Indices


def import_onnx(
    model: Path | bytes, name: str, bind: Mapping[str, Array] | None = None
) -> Imported:
    """The float32 graph of an ONNX file, called `name`, and how inputs and outputs lie in it.

    A static compiler needs shapes, axes and weights as constants: `bind` gives inputs that a model
    takes them from. Free batch axes become 1; float16 and float64 constants become float32.

    Raises:
        ImportModelError: no ONNX file, damaged, unreasonably large, or inputs of another kind.
        UnsupportedOpError: an operator, or a form of one, that the graph has no word for.
    """
    data, folder = (model, None) if isinstance(model, bytes) else _read(model, name)
    bound = dict(bind or {})
    record = read_onnx(data, name, folder, frozenset(bound))
    if not record.inputs:
        raise ImportModelError(f"{name}: it has no inputs, so there is nothing to compute")

    def write(plan: Plan) -> Imported:
        return OnnxReader(record, name, bound, plan).imported()

    try:
        imported = solve(write)
        check(imported.graph)
    except NoWordError as error:
        raise UnsupportedOpError(f"{name}: {error} is not supported; {WAYS_OUT}") from error
    except GrammarError as error:
        raise ImportModelError(f"{name}: an inconsistent ONNX model: {error}") from error
    return imported


class OnnxReader:
    """What handlers of operators need: the frame, and operands by the file's names."""

    def __init__(
        self, record: OnnxModel, name: str, bound: Mapping[str, Array], plan: Plan
    ) -> None:
        self._record = record
        self._name = name
        self.notes: list[str] = []
        self._budget = _MOST_CONSTANT_ELEMENTS
        self._read = {name for node in record.nodes for name in node.inputs} | set(record.outputs)
        floats = []
        for declared in record.inputs:
            if declared.dtype == "float":
                floats.append(Source(declared.name, declared.shape))
            elif declared.name in self._read:
                raise ImportModelError(
                    f"{name}: input '{declared.name}' is {declared.dtype}; inputs are float32, "
                    "bind shapes, axes and indices to constants"
                )
        self.frame = Frame(name, floats, plan)
        self._entries: dict[str, Entry] = {**record.constants, **bound}
        self._entries |= {source.name: self.frame.input(source.name) for source in floats}

    def imported(self) -> Imported:
        """The whole graph; not yet checked against the grammar."""
        from .onnx_ops import fuse_erf

        for node in fuse_erf(self._record.nodes, self._entries_of_constants()):
            self.frame.source = node.name or node.outputs[0]
            self._put(node, self._results(node))
        outputs = [(name, self._output(name)) for name in self._record.outputs]
        imported = self.frame.finish(outputs)
        for port in imported.inputs:
            if port.order != tuple(sorted(port.order)) and len(port.shape) != _IMAGE_RANK:
                self.note(
                    f"input '{port.name}', declared {port.shape}, is read as {port.graph_shape}: "
                    "channels last"
                )
        return Imported(imported.graph, imported.inputs, imported.outputs, tuple(self.notes))

    def entry(self, node: OnnxNode, position: int) -> Entry | None:
        """An operand as it is; None where it is left out."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        name = node.inputs[position]
        if name not in self._entries:
            raise ImportModelError(f"{self.place(node)} reads '{name}', which is not there")
        return self._entries[name]

    def place(self, node: OnnxNode) -> str:
        """File, node and operator, for errors."""
        label = node.name or (node.outputs[0] if node.outputs else "")
        return f"{self._name}: node {node.index} '{label}' ({node.op})"

    def unsupported(self, node: OnnxNode, why: str) -> UnsupportedOpError:
        """An error that says what, where and how to go on."""
        return UnsupportedOpError(f"{self.place(node)} is not supported: {why}; {WAYS_OUT}")

    def note(self, text: str) -> None:
        """Something that the user should know of, said once."""
        if text not in self.notes:
            self.notes.append(text)

    def _entries_of_constants(self) -> dict[str, Array]:
        return {
            name: entry for name, entry in self._entries.items() if isinstance(entry, np.ndarray)
        }

    def _results(self, node: OnnxNode) -> list[Entry | None]:
        from .onnx_ops import HANDLERS, Call, fold

        handler = HANDLERS.get(node.op)
        try:
            operands = [self.entry(node, position) for position in range(len(node.inputs))]
            folded = fold(node, operands, self.place(node))
            if folded is not None:
                return list(folded)
            if handler is None or node.version == 0:
                raise self.unsupported(node, "there is no word for it")
            if node.version > _NEWEST_MEANING:
                raise self.unsupported(node, f"its meaning since opset {node.version} is unknown")
            result = handler(Call(self, node))
        except (NoWordError, GrammarError) as error:
            raise self.unsupported(node, str(error)) from error
        except _DAMAGES as error:
            raise ImportModelError(
                f"{self.place(node)}: operands or attributes do not fit ({one_line(error)})"
            ) from error
        results = result if isinstance(result, list) else [result]
        return [np.asarray(found) if isinstance(found, np.generic) else found for found in results]

    def _put(self, node: OnnxNode, results: list[Entry | None]) -> None:
        for position, name in enumerate(node.outputs):
            result = results[position] if position < len(results) else None
            if result is None:
                if name in self._read:
                    raise self.unsupported(node, f"its output {position} ('{name}')")
                continue
            shape = result.shape if isinstance(result, Tensor) else ()
            if math.prod(shape) > MOST_ELEMENTS or 0 in shape or len(shape) > MOST_RANK:
                raise self.unsupported(node, f"a result of shape {shape}")
            if isinstance(result, np.ndarray):
                self._spend(node, result)
            if name:
                self._entries[name] = result

    def _spend(self, node: OnnxNode, constant: Array) -> None:
        """A small file may not make many large constants out of small ones."""
        self._budget -= constant.size
        if self._budget < 0:
            raise ImportModelError(f"{self.place(node)}: its constants grow beyond reason")

    def _output(self, name: str) -> Operand:
        entry = self._entries.get(name)
        if isinstance(entry, Indices):
            return entry.x
        if isinstance(entry, Quantized):
            raise ImportModelError(
                f"{self._name}: output '{name}' is quantized; end the model in DequantizeLinear"
            )
        if isinstance(entry, np.ndarray) and entry.dtype.kind not in "iuf":
            raise ImportModelError(f"{self._name}: output '{name}' is a constant {entry.dtype}")
        if entry is None or 0 in entry.shape:
            what = "nothing computes" if entry is None else "there is nothing in"
            raise ImportModelError(f"{self._name}: {what} the output '{name}'")
        return entry


def _read(path: Path, name: str) -> tuple[bytes, Path]:
    from .onnx_file import LARGEST_FILE

    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ImportModelError(f"{name}: {size} bytes; models up to 1 GiB are supported")
        return path.read_bytes(), path.parent
    except OSError as error:
        raise ImportModelError(f"{path}: cannot read it: {error.strerror}") from error

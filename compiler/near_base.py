"""The release that a new one shall stay near to: its codes and scales, read from its bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.bundle import open_bundle

from .encoding import Encoding, QuantizationPlan
from .errors import CompileError
from .graph import Array, Graph, QuantParams, Value
from .importers.tflite_file import TensorRecord, read_file


@dataclass(frozen=True, eq=False)
class Base:
    """A bundle as a file, and what its TFLite artifact holds, by the graph's names."""

    source: str
    bundle_id: str
    data: bytes
    tensors: Mapping[str, TensorRecord]

    def codes(self, name: str) -> Array:
        """The codes of a constant that `freeze` has found."""
        data = self.tensors[name].data
        assert data is not None
        return data


def read_base(path: Path) -> Base:
    """Read a bundle.

    Raises:
        BundleError: it cannot be trusted or read.
        CompileError: it has no TFLite artifact, from which codes are read.
    """
    bundle = open_bundle(path)
    found = [item.path for item in bundle.manifest.artifacts if item.format == "tflite"]
    if not found:
        raise CompileError(
            f"{path} has no tflite artifact, whose codes an update could stay near to; compile "
            "without --base, or base and model with --format tflite"
        )
    record = read_file(bundle.read(found[0]), f"{path}: {found[0]}")
    tensors = {tensor.name: tensor for tensor in record.tensors}
    return Base(str(path), bundle.bundle_id, path.read_bytes(), tensors)


def freeze(graph: Graph, plan: QuantizationPlan, base: Base) -> QuantizationPlan:
    """`plan` with the base's encodings, for a graph of the base's architecture.

    Raises:
        CompileError: the base is of another architecture, or has other number formats.
    """
    encodings = {
        name: _encoding(graph, name, encoding, base) for name, encoding in plan.encodings.items()
    }
    requantized = {
        (node, position): _encoding(graph, f"{node}.operand{position}", encoding, base)
        for (node, position), encoding in plan.requantized.items()
    }
    return dataclasses.replace(plan, encodings=encodings, requantized=requantized)


def _encoding(graph: Graph, name: str, encoding: Encoding, base: Base) -> Encoding:
    there = base.tensors.get(name)
    same = there is not None and there.dtype.lower() == encoding.dtype.value
    if there is None or not same or not _is_like(there, graph.values.get(name)):
        raise CompileError(
            f"{base.source} has no {encoding.dtype} tensor '{name}' as this model has it; an "
            "update stays near a release of the same architecture: compile without --base"
        )
    if not there.scales:
        return encoding
    axis = there.axis if len(there.scales) > 1 or encoding.quant.axis is not None else None
    return Encoding(encoding.dtype, QuantParams(there.scales, there.zero_points, axis))


def _is_like(there: TensorRecord, value: Value | None) -> bool:
    """Whether a tensor can stand for a value; operands that conversions make are none yet."""
    sound = all(0.0 < scale < float("inf") for scale in there.scales)
    if value is None:
        return sound
    constant = value.data is None or there.data is not None
    return sound and constant and value.elements == there.elements

"""`Graph`: the compiler's IR. Typed, immutable, SSA, NHWC.

Every value is produced once (graph input, constant or node output) and used any number of times.
Nodes stand in execution order. The first axis of every value that is no constant counts samples;
it is 1 in the graph, no operator mixes it with another, and interpreters take any number. In a
stream, a graph with an operator that remembers, samples are the frames of one recording in their
order, and nothing came before the first. Weights are laid out as TFLite has them: conv2d (out, kh,
kw, in), depthwise_conv2d (1, kh, kw, channels), fully_connected (out, in). Passes never mutate:
they return a new graph.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .ops import STREAMING, Attrs, Op

Array = npt.NDArray[Any]


class DType(enum.StrEnum):
    """Number formats of values."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"  # weights only
    INT4 = "int4"  # weights only; an element takes half a byte
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"

    @property
    def numpy(self) -> np.dtype[Any]:
        """What constants are held in: the dtype of the same name, int8 for int4."""
        return np.dtype("int8" if self is DType.INT4 else self.value)


@dataclass(frozen=True, slots=True)
class QuantParams:
    """real = scale · (q - zero_point); one entry, or one for each index along `axis`."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph; `data` is set for constants only."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quant: QuantParams | None = None
    data: Array | None = None

    @property
    def elements(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes; two elements of int4 share one."""
        if self.dtype is DType.INT4:
            return -(-self.elements // 2)
        return self.elements * self.dtype.numpy.itemsize


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. `source` names the place in the imported model."""

    op: Op
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs
    source: str = ""

    @property
    def output(self) -> str:
        """The first output: every operator here has exactly one."""
        return self.outputs[0]


@dataclass(frozen=True)
class Graph:
    """Values by name, nodes in execution order."""

    name: str
    values: Mapping[str, Value]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    @classmethod
    def build(
        cls,
        name: str,
        values: Iterable[Value],
        nodes: Iterable[Node],
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
    ) -> Graph:
        """A graph from its parts; later values of one name replace earlier ones."""
        return cls(name, {value.name: value for value in values}, tuple(nodes), inputs, outputs)

    def replace(
        self, *, values: Iterable[Value] | None = None, nodes: Iterable[Node] | None = None
    ) -> Graph:
        """A copy with other values or nodes."""
        new_values = self.values if values is None else {value.name: value for value in values}
        return dataclasses.replace(
            self, values=new_values, nodes=tuple(nodes) if nodes is not None else self.nodes
        )

    @property
    def input(self) -> Value:
        """The first input; models that are compiled have one."""
        return self.values[self.inputs[0]]

    @property
    def output(self) -> Value:
        """The first output; models that are compiled have one."""
        return self.values[self.outputs[0]]

    @property
    def is_stream(self) -> bool:
        """Whether an operator remembers: samples are then consecutive frames."""
        return any(node.op in STREAMING for node in self.nodes)

    def constant(self, name: str) -> Array:
        """Data of the constant `name`."""
        data = self.values[name].data
        if data is None:
            raise KeyError(f"'{name}' is no constant")
        return data

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Nodes that read the value `name`."""
        return self._readers.get(name, ())

    @cached_property
    def _readers(self) -> Mapping[str, tuple[Node, ...]]:
        """Readers by value, found once: passes ask for them node by node."""
        found: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found[name].append(node)
        return {name: tuple(readers) for name, readers in found.items()}

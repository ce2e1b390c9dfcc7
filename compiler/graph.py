"""`Graph`: the compiler's IR. Typed, immutable, SSA, NHWC.

Every value is produced once (graph input, constant or node output) and used any number of times.
Nodes stand in execution order. Shapes include the batch axis, which is 1. Weights are laid out
as TFLite has them: conv2d (out, kh, kw, in), depthwise_conv2d (1, kh, kw, channels),
fully_connected (out, in). Passes never mutate: they return a new graph.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class DType(enum.StrEnum):
    """Number formats of values."""

    FLOAT32 = "float32"
    INT8 = "int8"
    INT32 = "int32"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype of the same name."""
        return np.dtype(self.value)


class Op(enum.StrEnum):
    """Operators. BATCH_NORM and RELU exist only between import and fusion."""

    CONV_2D = "conv2d"
    DEPTHWISE_CONV_2D = "depthwise_conv2d"
    FULLY_CONNECTED = "fully_connected"
    ADD = "add"
    MAX_POOL_2D = "max_pool2d"
    AVERAGE_POOL_2D = "average_pool2d"
    MEAN = "mean"  # over height and width, axes dropped
    PAD = "pad"
    RESHAPE = "reshape"
    SOFTMAX = "softmax"
    BATCH_NORM = "batch_norm"
    RELU = "relu"
    RELU6 = "relu6"


class Activation(enum.StrEnum):
    """A clamp fused into the operator before it."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"


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
        """Size in bytes."""
        return self.elements * self.dtype.numpy.itemsize


Padding = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right))


@dataclass(frozen=True, slots=True)
class ConvAttrs:
    """conv2d and depthwise_conv2d. inputs: x, weights, bias."""

    stride: tuple[int, int] = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class DenseAttrs:
    """fully_connected. inputs: x (1, in), weights, bias."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class AddAttrs:
    """Add. inputs: a, b of one shape."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class PoolAttrs:
    """max_pool2d and average_pool2d; padding is excluded from the average."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class PadAttrs:
    """Zero padding of height and width."""

    padding: Padding


@dataclass(frozen=True, slots=True)
class BatchNormAttrs:
    """inputs: x, scale, offset (both per channel), already folded from mean and variance."""


@dataclass(frozen=True, slots=True)
class NoAttrs:
    """mean, reshape (the output value holds the shape), softmax, relu, relu6."""


Attrs = ConvAttrs | DenseAttrs | AddAttrs | PoolAttrs | PadAttrs | BatchNormAttrs | NoAttrs


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
        """The one input."""
        return self.values[self.inputs[0]]

    @property
    def output(self) -> Value:
        """The one output."""
        return self.values[self.outputs[0]]

    def constant(self, name: str) -> Array:
        """Data of the constant `name`."""
        data = self.values[name].data
        if data is None:
            raise KeyError(f"'{name}' is no constant")
        return data

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Nodes that read the value `name`."""
        return tuple(node for node in self.nodes if name in node.inputs)

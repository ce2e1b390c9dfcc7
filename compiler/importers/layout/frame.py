"""`Frame`: a graph in the making, for code that thinks in a framework's axes.

It owns the builder, and the one place that moves elements: `place`. A TRANSPOSE is written there,
or a RESHAPE where axes of length 1 come and go, and nothing where the value already lies right.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np

from ...builder import GraphBuilder
from ...graph import Array
from ...ops import Attrs, NoAttrs, Op, TransposeAttrs
from ...shapes import Shape
from .ports import Imported, Plan, Port, Source
from .tensor import NoWordError, Operand, OtherOrderError, SamplesTouchedError, Tensor

_PLAIN = NoAttrs()
_CLAMPS = frozenset(
    {Op.RELU, Op.RELU6, Op.LOGISTIC, Op.SOFTMAX, Op.ABS, Op.EXP, Op.SQRT, Op.RSQRT, Op.LESS_EQUAL}
)
_KEEP_SIGN = frozenset(
    {
        Op.MEAN,
        Op.SUM,
        Op.REDUCE_MAX,
        Op.MAX_POOL_2D,
        Op.AVERAGE_POOL_2D,
        Op.RESIZE_NEAREST_NEIGHBOR,
        Op.RESIZE_BILINEAR,
        Op.ADD,
        Op.MUL,
        Op.MINIMUM,
        Op.MAXIMUM,
        Op.TRANSPOSE,
        Op.CONCATENATION,
        Op.SLICE,
    }
)
"""Operators that make nothing negative of operands that are not."""
Groups = Sequence[Sequence[int]]


class Frame:
    """Inputs, constants, nodes; `source` is the place in the model that nodes are written for."""

    def __init__(self, name: str, sources: Sequence[Source], plan: Plan) -> None:
        if not sources:
            raise NoWordError("a model without inputs")
        first = {source.shape[:1] for source in sources}
        self.tied = not plan.lifted and len(first) == 1 and first not in ({()}, {(1,)})
        self.source = ""
        self._constants = 0
        self._never_negative: set[str] = set()
        self._weights: dict[tuple[Shape, bytes], str] = {}
        self._plan = plan
        self._ports = tuple(
            plan.port(source, _value_name(place), tied=self.tied)
            for place, source in enumerate(sources)
        )
        self.build = GraphBuilder(name, self._ports[0].graph_shape)
        for port in self._ports[1:]:
            self.build.add_input(port.value, port.graph_shape)
        self._inputs = {port.name: _input_tensor(port, self.tied) for port in self._ports}

    def input(self, name: str) -> Tensor:
        """The handle of an input."""
        return self._inputs[name]

    def node(self, op: Op, values: Iterable[str], attrs: Attrs = _PLAIN) -> str:
        """Write a node over values of the graph; its output."""
        read = tuple(values)
        output = self.build.node(op, read, attrs, self.source)
        if op in _CLAMPS or (op in _KEEP_SIGN and self._never_negative.issuperset(read)):
            self._never_negative.add(output)
        return output

    def never_negative(self, x: Tensor) -> bool:
        """Whether it is known that no element is below zero."""
        return x.value in self._never_negative

    def is_input(self, x: Tensor) -> bool:
        """Whether `x` is an input of the model, or a view of one."""
        return any(port.value == x.value for port in self._ports)

    def constant(self, op: Op, what: str, data: Array) -> str:
        """A constant for the node of `op` that comes next."""
        name = self.build.constant(self.build.unique(op, what), data)
        if data.size and data.min() >= 0:
            self._never_negative.add(name)
        return name

    def weights(self, op: Op, data: Array) -> str:
        """The weights of a node: those written before where they are the same."""
        key = (data.shape, hashlib.sha256(np.ascontiguousarray(data).tobytes()).digest())
        if key not in self._weights:
            self._weights[key] = self.constant(op, "weights", data)
        return self._weights[key]

    def reshape(self, value: str, shape: Shape) -> str:
        """`value` in another shape of the graph; nothing is written where it has it."""
        if self.build.shape(value) == shape:
            return value
        output = self.build.reshape(value, shape, self.source)
        if value in self._never_negative:
            self._never_negative.add(output)
        return output

    def computed(self, x: Operand) -> Tensor:
        """`x` as a value; a constant keeps the framework's order."""
        if isinstance(x, Tensor):
            return x
        self._constants += 1
        value = self.build.constant(f"constant_{self._constants}", x[np.newaxis])
        return Tensor(value, x.shape, tuple((axis + 1,) for axis in range(x.ndim)))

    def graph_axes(self, x: Tensor, axes: Iterable[int]) -> Shape:
        """The value's axes that hold these of the framework, in the framework's order."""
        found = tuple(graph for axis in axes for graph in x.axes[axis])
        if 0 in found:
            raise SamplesTouchedError
        return found

    def sizes(self, x: Tensor, axis: int) -> Shape:
        """Lengths of the value's axes that hold `axis`."""
        shape = self.build.shape(x.value)
        return tuple(shape[graph] for graph in x.axes[axis])

    def samples(self, x: Tensor) -> tuple[Shape, ...]:
        """What holds the framework's first axis where it may only count samples."""
        if x.axes[0] == (0,):
            return ((0,),)
        if x.shape[0] != 1:
            raise NoWordError(
                f"an image operator over {x.shape[0]} samples that another operator mixes"
            )
        return ((),)

    def arrange(self, x: Tensor, wanted: Groups) -> str:
        """The value of `x` as (1, …): each further axis holds the framework's axes of a group.

        Groups name every axis longer than 1 once, but for one that counts samples; an empty group
        is an axis of length 1.
        """
        return self.place(x.value, [self.graph_axes(x, group) for group in wanted])

    def place(self, value: str, groups: Groups) -> str:
        """`value` as (1, …), each further axis made of a group of its axes, the slowest first."""
        shape = self.build.shape(value)
        perm = _permutation(shape, groups)
        longer = [axis for axis in perm if shape[axis] != 1]
        if longer != sorted(longer):
            self._prefer_other_order(value, perm)
            value = self.node(Op.TRANSPOSE, (value,), TransposeAttrs(perm))
        sizes = (math.prod(shape[axis] for axis in group) for group in groups)
        return self.reshape(value, (1, *sizes))

    def plain(self, x: Tensor) -> Tensor:
        """`x` where one axis of the value holds each axis longer than 1, in the order at hand."""
        if all(len(graph) <= 1 for graph in x.axes):
            return x
        start = 1 if x.rank and x.axes[0] == (0,) else 0
        longer = [axis for axis in range(start, x.rank) if x.shape[axis] != 1]
        longer.sort(key=lambda axis: x.axes[axis][0])
        value = self.arrange(x, [(axis,) for axis in longer])
        held = {axis: (place + 1,) for place, axis in enumerate(longer)}
        axes = ((0,),) * start + tuple(held.get(axis, ()) for axis in range(start, x.rank))
        return Tensor(value, x.shape, axes)

    def with_axis(self, x: Tensor, axis: int) -> Tensor:
        """`x` plain, and `axis` held by an axis of the value even where its length is 1."""
        x = self.plain(x)
        if x.axes[axis]:
            self.graph_axes(x, (axis,))
            return x
        shape = self.build.shape(x.value)
        place = self._free_place(x, axis)
        if place < len(shape) and self._is_free(x, place):
            return Tensor(x.value, x.shape, (*x.axes[:axis], (place,), *x.axes[axis + 1 :]))
        value = self.reshape(x.value, (*shape[:place], 1, *shape[place:]))
        moved = [tuple(graph + (graph >= place) for graph in graphs) for graphs in x.axes]
        moved[axis] = (place,)
        return Tensor(value, x.shape, tuple(moved))

    def finish(self, outputs: Sequence[tuple[str, Operand]]) -> Imported:
        """The graph, and how the inputs and these outputs lie in it."""
        ports = tuple(self._output(name, x) for name, x in outputs)
        graph = self.build.finish(*(port.value for port in ports))
        return Imported(graph, self._ports, ports)

    def _output(self, name: str, x: Operand) -> Port:
        x = self.plain(self.computed(x))
        start = 1 if x.rank and (x.axes[0] == (0,) or x.shape[0] == 1) else 0
        for axis in range(start, x.rank):
            x = self.with_axis(x, axis)
        order = sorted(range(start, x.rank), key=lambda axis: x.axes[axis])
        value = self.arrange(x, [(axis,) for axis in order])
        return Port(name, value, x.shape, tuple(order), samples=bool(start))

    def _free_place(self, x: Tensor, axis: int) -> int:
        """Where the value should hold a new axis: channels last, others after the one before."""
        channels_last = [x.axes[place] for place in range(2, x.rank) if x.axes[place]]
        if axis == 1 and x.rank > 2 and channels_last == sorted(channels_last):
            shape = self.build.shape(x.value)
            last = len(shape) - 1
            return last if last > 0 and self._is_free(x, last) else len(shape)
        before = [x.axes[place][0] for place in range(axis) if x.axes[place]]
        return before[-1] + 1 if before else 1

    def _is_free(self, x: Tensor, place: int) -> bool:
        held = {graph for graphs in x.axes for graph in graphs}
        return place > 0 and place not in held and self.build.shape(x.value)[place] == 1

    def _prefer_other_order(self, value: str, perm: Shape) -> None:
        """Ask for an input in the order in which it is read first, unless that was settled."""
        for port in self._ports:
            if port.value == value and not self._plan.settles(port.name):
                raise OtherOrderError(port.name, tuple(port.order[axis - 1] for axis in perm[1:]))


def _permutation(shape: Shape, groups: Groups) -> Shape:
    """All axes of `shape`, those of the groups in their order; axes of length 1 fill gaps."""
    named = {axis for group in groups for axis in group}
    free = [axis for axis in range(1, len(shape)) if axis not in named]
    perm = [0]
    for group in groups:
        perm += group if group else [free.pop(0)] if free else []
    return (*perm, *free)


def _value_name(place: int) -> str:
    return "input" if place == 0 else f"input_{place}"


def _input_tensor(port: Port, tied: bool) -> Tensor:
    first: tuple[Shape, ...] = (((0,) if tied else ()),) if port.samples else ()
    rest = [(port.order.index(axis) + 1,) for axis in range(len(first), len(port.shape))]
    return Tensor(port.value, port.shape, (*first, *rest))

"""How a model's inputs and outputs lie in the graph, and the plan that an importer tries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ...graph import Array, Graph
from ...shapes import Shape
from .tensor import NoWordError, OtherOrderError, SamplesTouchedError

_IMAGE_RANK = 4
_CHANNELS_LAST = (2, 3, 1)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Source:
    """An input as the framework declares it."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: the framework's name and shape, and where its axes lie in the graph.

    With `samples` the graph's first axis stands for the framework's first one. Else the framework
    has no such axis and the graph's is added in front. `order` names the framework's other axes
    in the graph's order.
    """

    name: str
    value: str
    shape: Shape
    order: Shape
    samples: bool

    @property
    def graph_shape(self) -> Shape:
        """The value's shape: one sample."""
        return (1, *(self.shape[axis] for axis in self.order))

    def to_graph(self, x: Array) -> Array:
        """The framework's array as the graph reads it."""
        if self.samples:
            return x.transpose(0, *self.order)
        return x.transpose(self.order)[np.newaxis]

    def from_graph(self, y: Array) -> Array:
        """The graph's array as the framework has it; without `samples` of the first sample."""
        back = [self.order.index(axis) for axis in sorted(self.order)]
        if self.samples:
            return y.transpose(0, *(place + 1 for place in back))
        first: Array = y[0]
        return first.transpose(back)


@dataclass(frozen=True, slots=True)
class Imported:
    """A graph, and how the model's inputs and outputs lie in it."""

    graph: Graph
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried: whether every first axis is the model's own, and inputs' settled orders."""

    lifted: bool = False
    orders: tuple[tuple[str, Shape], ...] = ()

    def settles(self, name: str) -> bool:
        """Whether the input's order was asked for before."""
        return any(name == settled for settled, _ in self.orders)

    def port(self, source: Source, value: str, *, tied: bool) -> Port:
        """Where the input lies: images channels last, all else in the framework's order."""
        rank = len(source.shape)
        samples = tied or source.shape[:1] == (1,)
        order = tuple(range(1 if samples else 0, rank))
        if samples and rank == _IMAGE_RANK:
            order = _CHANNELS_LAST
        for settled, wanted in self.orders:
            order = wanted if settled == source.name else order
        return Port(source.name, value, source.shape, order, samples)


def solve(write: Callable[[Plan], _Result]) -> _Result:
    """What `write` gives under the first plan that fits: inputs in the order they are read in.

    A first axis longer than 1 is taken for one that counts samples until an operator touches it.
    Raises what `write` raises, but for the two exceptions that ask for another plan.
    """
    plan = Plan()
    while True:
        try:
            return write(plan)
        except SamplesTouchedError:
            if plan.lifted:
                raise NoWordError("an operator along the axis that counts samples") from None
            plan = Plan(lifted=True)
        except OtherOrderError as wish:
            plan = dataclasses.replace(plan, orders=(*plan.orders, (wish.name, wish.order)))

"""`Tensor`: a framework's tensor and where the graph holds it; what goes wrong on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...graph import Array
from ...shapes import Shape


@dataclass(frozen=True, slots=True)
class Tensor:
    """A handle of a computed tensor.

    `shape` is the framework's. `axes` says for each of its axes which axes of the graph's value
    hold it, the slowest first: one in general, several where a reshape merged axes and nobody had
    to move an element yet, none where its length is 1. Axis 0 of the value counts samples; it
    holds the framework's first axis only where that counts more than one (`Frame.tied`). Axes of
    the value that nobody names have length 1.
    """

    value: str
    shape: Shape
    axes: tuple[Shape, ...]

    @property
    def rank(self) -> int:
        """Number of the framework's axes."""
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Number of scalars, for the framework."""
        return math.prod(self.shape)


Operand = Tensor | Array
"""Computed, or known: a numpy array in the framework's axes."""


class NoWordError(Exception):
    """The graph cannot say this; the text says what, importers add where and the ways out."""


class SamplesTouchedError(Exception):
    """An operator works along the axis that was taken for the one that counts samples."""


class OtherOrderError(Exception):
    """An input would have to be transposed: it should arrive in `order` instead."""

    def __init__(self, name: str, order: Shape) -> None:
        super().__init__(name, order)
        self.name = name
        self.order = order

"""`Entry`: the way of one sample from its raw units into a lane's memory, checked on the way.

It does what `Contract.check`, `Contract.preprocess` and `End.accept` do one after the other, with
the same operations in the same order, so the codes are the same to the last bit; but it does them
in memory that is there already, and only those that can matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .contract import Affine, Contract, FloatArray
from .quant import End

_FLOAT32 = np.dtype(np.float32)
# Beyond it a step of preprocessing may overflow, which numpy would warn of.
_VAST = 1e30

Codes = npt.NDArray[Any]
Step = tuple[Callable[..., FloatArray], FloatArray]


class Entry:
    """Takes raw samples of one contract to the input of one lane; for one thread at a time."""

    def __init__(self, contract: Contract, end: End, target: Codes) -> None:
        """`target` (elements,) is what `end` describes, and receives the sample."""
        spec = contract.input
        self._contract = contract
        self._shape = spec.shape
        self._target = target
        self._end = end
        # NaN keeps no bound.
        self._lowest = -_VAST if spec.minimum is None else max(spec.minimum, -_VAST)
        self._highest = _VAST if spec.maximum is None else min(spec.maximum, _VAST)
        self._work: FloatArray = np.zeros(spec.elements, np.float32)
        self._steps = _steps(contract)
        self._codes = _Rounding(end) if end.holds_codes else None
        self._tame_low, self._tame_high = _tame(contract, end)

    def put(self, raw: Codes) -> None:
        """One sample of shape input.shape.

        Raises:
            ContractError: it breaks the contract.
        """
        if raw.dtype is not _FLOAT32 or raw.shape != self._shape:
            raw = self._contract.check(raw[None])[0]
        x: FloatArray = raw.ravel()
        # Both find a NaN where there is one.
        low, high = x.item(x.argmin()), x.item(x.argmax())
        if not (self._lowest <= low and high <= self._highest):
            self._put_unusual(raw)
            return
        for operation, operand in self._steps:
            x = operation(x, operand, self._work)
        codes = self._codes
        if codes is not None:
            x = np.divide(x, codes.scale, self._work)
            np.rint(x, x)
            if low < self._tame_low or high > self._tame_high:
                np.maximum(x, codes.lowest, out=x)
                np.minimum(x, codes.highest, out=x)
            np.add(x, codes.zero_point, x)
        self._target[...] = x

    def _put_unusual(self, raw: Codes) -> None:
        samples = self._contract.check(raw[None])
        with np.errstate(over="ignore"):
            codes = self._end.accept(self._contract.preprocess(samples))
        self._target[...] = codes.ravel()


class _Rounding:
    """The operands of `quantize_to`, as arrays: numpy takes longer over its scalars."""

    def __init__(self, end: End) -> None:
        limits = np.iinfo(np.dtype(end.dtype))
        self.scale = np.array(end.scale, np.float32)
        self.zero_point = np.array(end.zero_point, np.float32)
        self.lowest = np.array(limits.min - end.zero_point, np.float32)
        self.highest = np.array(limits.max - end.zero_point, np.float32)


def _steps(contract: Contract) -> tuple[Step, ...]:
    """`Contract.preprocess` as operations on a flat sample."""
    found: list[Step] = []
    for step in contract.preprocessing:
        if isinstance(step, Affine):
            offset, factor = (np.array(x, np.float32) for x in (step.offset, step.factor))
        else:
            times = contract.input.elements // len(step.offsets)
            offset, factor = (
                np.tile(np.array(x, np.float32), times) for x in (step.offsets, step.factors)
            )
        found += [(np.subtract, offset), (np.multiply, factor)]
    return tuple(found)


def _tame(contract: Contract, end: End) -> tuple[float, float]:
    """Raw values that no clipping would change; empty where that is not known beforehand.

    Every operation keeps the order of numbers or turns it round, so what holds for the ends of an
    interval holds inside it.
    """
    never = (math.inf, -math.inf)
    if not end.holds_codes or not all(isinstance(s, Affine) for s in contract.preprocessing):
        return never
    limits = np.iinfo(np.dtype(end.dtype))
    # A step inside the codes, taken back to raw units; float32 is finer than a step.
    edges = [
        (code - end.zero_point) * end.scale for code in (int(limits.min) + 1, int(limits.max) - 1)
    ]
    for step in reversed(contract.preprocessing):
        assert isinstance(step, Affine)
        if step.factor == 0 or not math.isfinite(1 / step.factor):
            return never
        edges = [edge / step.factor + step.offset for edge in edges]
    found = np.array(edges, np.float32)
    codes = end.accept(contract.preprocess(found))
    inside = bool(np.isfinite(found).all() and (codes > limits.min).all())
    inside = inside and bool((codes < limits.max).all())
    return (float(found.min()), float(found.max())) if inside else never

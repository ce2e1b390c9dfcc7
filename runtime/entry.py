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
from .quant import End, Rounding

# Beyond it a step of preprocessing may overflow, which numpy would warn of.
_VAST = 1e20

Codes = npt.NDArray[Any]
Step = tuple[Callable[..., FloatArray], FloatArray]


class Entry:
    """Takes raw samples of one contract to the input of one lane; for one thread at a time.

    `put(raw)` takes one sample of shape input.shape. It raises ContractError where that breaks the
    contract; the lane's input is then as it was.
    """

    def __init__(self, contract: Contract, end: End, target: Codes) -> None:
        """`target` (elements,) is what `end` describes, and receives the sample."""
        self._contract = contract
        self._end = end
        self._target = target
        self.put: Callable[[Codes], None] = self._fast()

    def _fast(self) -> Callable[[Codes], None]:
        """`put` as a closure: looking names up in objects would cost a quarter of it."""
        spec, end, target, unusual = self._contract.input, self._end, self._target, self._plain
        float32, shape, work = np.dtype(np.float32), spec.shape, np.zeros(spec.shape, np.float32)
        floats = target.reshape(shape)
        # NaN keeps no bound.
        lowest = -_VAST if spec.minimum is None else max(spec.minimum, -_VAST)
        highest = _VAST if spec.maximum is None else min(spec.maximum, _VAST)
        tame_low, tame_high = _tame(self._contract, end)
        steps, holds_codes = _steps(self._contract), end.holds_codes
        rounding = Rounding(end.dtype, end.scale, end.zero_point)
        scale, first_code, last_code = rounding.scale, rounding.lowest, rounding.highest
        # Flat: numpy is slow to start on views with gaps and several axes.
        to_codes, odd, codes = rounding.to_codes, rounding.odd, rounding.low_parts(work.ravel())
        is_odd = bool(odd)
        divide, add, maximum, minimum = np.divide, np.add, np.maximum, np.minimum

        def put(raw: Codes) -> None:
            if raw.dtype is not float32 or raw.shape != shape:
                unusual(raw)
                return
            # Both find a NaN where there is one.
            low, high = raw.item(raw.argmin()), raw.item(raw.argmax())
            if not (lowest <= low and high <= highest):
                unusual(raw)
                return
            x: FloatArray = raw
            for operation, operand in steps:
                x = operation(x, operand, work)
            if not holds_codes:
                floats[...] = x
                return
            divide(x, scale, work)
            if low < tame_low or high > tame_high:
                maximum(work, first_code, out=work)
                minimum(work, last_code, out=work)
            add(work, to_codes, work)
            if is_odd:
                add(codes, odd, target)
            else:
                target[...] = codes

        return put

    def _plain(self, raw: Codes) -> None:
        """The definition, one step after the other: for what the fast way does not know."""
        samples = self._contract.check(raw[None])
        with np.errstate(over="ignore"):
            codes = self._end.accept(self._contract.preprocess(samples))
        self._target[...] = codes.ravel()


def _steps(contract: Contract) -> tuple[Step, ...]:
    """`Contract.preprocess` as operations on one sample."""
    found: list[Step] = []
    for step in contract.preprocessing:
        if isinstance(step, Affine):
            offset, factor = (np.array(x, np.float32) for x in (step.offset, step.factor))
        else:
            offset, factor = (np.array(x, np.float32) for x in (step.offsets, step.factors))
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

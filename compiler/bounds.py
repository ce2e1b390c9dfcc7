"""How far an engine may be from the reference, and the measurements behind it.

LiteRT's reference kernels and generated C must give the reference's codes byte for byte. XNNPACK
and ONNX Runtime requantize in float32, round ties to even where the specification rounds them up,
and ONNX Runtime computes in float what it cannot fuse: they are held to `BOUNDS`. Float outputs
have no codes; every engine sums in an order of its own, so they are held to `FLOAT_BOUND`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .oracles import Engine


@dataclass(frozen=True, slots=True)
class Bound:
    """The most an engine may differ from the integer reference.

    `max_lsb` holds for every output; `beyond_one_share` for outputs that are off by more than one
    step; `flip_share` for samples with another label. One flip is always let through where a
    share is given: with few samples a single tie would break it.
    """

    max_lsb: int
    beyond_one_share: float
    flip_share: float

    @property
    def text(self) -> str:
        """One line for messages."""
        if self.max_lsb == 0:
            return "byte for byte"
        return (
            f"at most {self.max_lsb} LSB, {self.beyond_one_share:.0%} of outputs beyond 1 LSB, "
            f"{self.flip_share:.0%} of labels"
        )

    def holds(self, worst: int, beyond: int, outputs: int, flips: int, samples: int) -> bool:
        """Whether that many LSB, outputs beyond one step and flipped labels are within it."""
        if self == EXACT:
            return worst == 0
        return (
            worst <= self.max_lsb
            and beyond <= max(1, self.beyond_one_share * outputs)
            and flips <= max(1, self.flip_share * samples)
        )


@dataclass(frozen=True, slots=True)
class FloatBound:
    """The most that float outputs may differ, as a share of the largest of them."""

    max_relative: float
    flip_share: float

    @property
    def text(self) -> str:
        """One line for messages."""
        return (
            f"at most {self.max_relative:g} of the largest output, {self.flip_share:.0%} of labels"
        )

    def holds(self, relative: float, flips: int, samples: int) -> bool:
        """Whether that relative error and that many flipped labels are within it."""
        return relative <= self.max_relative and flips <= max(1, self.flip_share * samples)


EXACT = Bound(0, 0.0, 0.0)
# A layer is off by one step here and there, and later layers can amplify that: on trained networks
# we saw 1 to 2 LSB, on 250 random untrained ones up to 11 (XNNPACK) and 16 (ONNX Runtime) with 3 %
# and 5 % of labels. A wrong layout, padding or scale is off by tens and flips most labels.
BOUNDS: Mapping[Engine, Bound] = {
    Engine.REFERENCE: EXACT,
    Engine.LITERT_REFERENCE: EXACT,
    Engine.C_HOST: EXACT,
    Engine.C_EMULATED: EXACT,
    Engine.LITERT_XNNPACK: Bound(16, 0.3, 0.05),
    Engine.ONNXRUNTIME: Bound(24, 0.5, 0.05),
}
# float32 has 24 bits; sums of thousands of terms in another order lose a few of them.
FLOAT_BOUND = FloatBound(1e-4, 0.01)

"""Weights near those of a base: what changes must be worth the bits that tell of it.

Column by column, as in E. Frantar et al., GPTQ (arXiv 2210.17323): a weight takes the code that
costs least in error of the layer's output plus bits, the base's own code costing none, and what
error is left is made up for by the weights that are still free. What every weight of a channel
does alike goes into the channel's scale instead, which is one number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CHANGE_BITS = 5.0  # of a code that is not the base's, by one step
DOUBLING_BITS = 1.5  # more for each doubling of the step
SCALE_BITS = 40.0  # of a changed scale, with that of the bias
_SCALE_STEP = 1 << 14  # units in the last place between the scales that are tried
_DAMPING = 0.01  # of the mean diagonal

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """One layer: `wanted` (groups, outputs, k) in steps of the base's scales, `base` its codes,
    `gram` (groups, k, k) of what they multiply, codes from -limit to limit."""

    wanted: Float64
    base: Float64
    gram: Float64
    limit: int

    def power(self, scales: Float64) -> float:
        """Mean square of the layer's output; `scales` (groups, outputs)."""
        squares = np.einsum("gok,gkl,gol->go", self.wanted, self.gram, self.wanted, optimize=True)
        return max(float((squares * scales**2).mean()), 1e-30)


def scale_ratios(change: Change, scales: Float64, price: Float64, widest: Float64) -> Float64:
    """What to multiply each channel's scale by; 1 where that is not worth its bits.

    All (groups, outputs): `price` of a bit in squared steps, `widest` the largest ratio.
    """
    moved = change.base @ change.gram
    alike = (moved * change.base).sum(axis=2)
    best = (moved * change.wanted).sum(axis=2) / np.maximum(alike, 1e-30)
    snapped = _snapped(scales, np.clip(best, 0.5, np.minimum(widest, 2.0)))
    gain = alike * ((best - 1.0) ** 2 - (best - snapped) ** 2)
    worth = (alike > 0) & (gain > SCALE_BITS * price) & (snapped <= widest)
    return np.where(worth, snapped, 1.0)


def choose_update(change: Change, price: Float64) -> Float64:
    """Codes (groups, outputs, k) under a `price` (groups, outputs) of a bit in squared steps."""
    diagonal = np.diagonal(change.gram, axis1=1, axis2=2)
    order = np.argsort(-diagonal.mean(axis=0), kind="stable")
    gram = change.gram[:, order][:, :, order]
    factor = _factor(gram)
    left, base = change.wanted[:, :, order].copy(), change.base[:, :, order]
    codes = np.empty_like(base)
    for column in range(base.shape[2]):
        step = factor[:, column, column][:, None]
        before, now = base[:, :, column], left[:, :, column]
        codes[:, :, column] = _cheapest(now, before, step, price, change.limit)
        error = (now - codes[:, :, column]) / step
        left[:, :, column + 1 :] -= error[:, :, None] * factor[:, None, column, column + 1 :]
    found = np.empty_like(codes)
    found[:, :, order] = codes
    return found


def _cheapest(now: Float64, before: Float64, step: Float64, price: Float64, limit: int) -> Float64:
    """The base's code, the nearest one, or the one before that."""
    nearest = np.clip(np.rint(now), -limit, limit)
    moved = nearest - before
    nearer = before + np.sign(moved) * np.maximum(np.abs(moved) - 1.0, 0.0)
    best, least = before, ((now - before) / step) ** 2
    for code in (nearer, nearest):
        cost = ((now - code) / step) ** 2 + price * update_bits(code - before)
        best = np.where(cost < least, code, best)
        least = np.minimum(cost, least)
    return best


def update_bits(moved: Float64) -> Float64:
    """About what it takes to tell of codes that moved by so many steps each."""
    size = np.abs(moved)
    bits: Float64 = np.where(
        size > 0, CHANGE_BITS + DOUBLING_BITS * np.log2(np.maximum(size, 1.0)), 0.0
    )
    return bits


def _factor(gram: Float64) -> Float64:
    """Upper triangles U with UᵀU the inverse of each damped Gram matrix."""
    count = gram.shape[1]
    mean = np.maximum(np.trace(gram, axis1=1, axis2=2) / count, 1e-12)
    damped = gram + (_DAMPING * mean)[:, None, None] * np.eye(count)
    upper: Float64 = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    return upper


def _snapped(scales: Float64, ratios: Float64) -> Float64:
    """Ratios of float32 scales whose bits differ by whole steps, which are few to tell apart."""
    base = scales.astype(np.float32)
    bits = base.view(np.int32).astype(np.int64)
    wanted = (base.astype(np.float64) * ratios).astype(np.float32).view(np.int32).astype(np.int64)
    steps = np.rint((wanted - bits) / _SCALE_STEP).astype(np.int64)
    found = (bits + steps * _SCALE_STEP).astype(np.int32).view(np.float32)
    return found.astype(np.float64) / base

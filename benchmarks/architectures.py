"""NAS-Bench-201 cells and FBNet networks as the designs of cost tables, one for each rule.

A cell (Dong, Yang 2020, "NAS-Bench-201") has four nodes and six edges, each with one of five
operators; the network repeats it, so counts of operators are its work. FBNet's 22 layers each take
one of nine blocks (Wu et al. 2019; channels, strides and the 32 × 32 input as in Li et al. 2021,
"HW-NAS-Bench"), whose work follows from their shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Views = dict[str, FloatArray]

OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL_MACS = (0.0, 0.0, 1.0, 9.0, 0.0)  # of each operator, over those of a 1 x 1 convolution

LAYERS = (1, 4, 4, 4, 4, 4, 1)
CHANNELS = (16, 24, 32, 64, 112, 184, 352)
STRIDES = (1, 1, 2, 2, 1, 2, 1)
INPUT_SIZE, STEM_CHANNELS = 32, 16
# kernel, expansion, groups of the 1 x 1 convolutions; the ninth is a skip
BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))


def nasbench_views(arch: npt.NDArray[np.str_]) -> tuple[Views, FloatArray]:
    """Designs (cells, 1 + operators) by rule, and MACs (cells,), of architecture strings."""
    chosen = np.array([_operators(str(text)) for text in arch])
    there = chosen != 0
    from_input, to_output = _reached(there), _used(there)
    used = np.stack([there[:, i] & to_output[:, end] for i, (_, end) in enumerate(EDGES)], axis=1)
    alive = used & np.stack([from_input[:, start] for start, _ in EDGES], axis=1)
    connected = alive.any(axis=1, keepdims=True)
    views = {
        "every operator runs": _counted(chosen, np.ones_like(there), np.ones(len(arch), bool)),
        "unused results are dropped": _counted(chosen, used, used.any(axis=1)),
        "and constant results as well": _counted(chosen, used & connected, connected[:, 0]),
    }
    return views, np.asarray(CELL_MACS)[chosen].sum(axis=1)


def _operators(text: str) -> list[int]:
    """`|op~0|+|op~0|op~1|+…` as the operators of `EDGES`."""
    parts = text.replace("+", "").strip("|").split("|")
    return [OPERATORS.index(part.split("~")[0]) for part in parts if part]


def _reached(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Nodes (cells, 4) whose result depends on the input."""
    nodes = np.zeros((len(there), 4), bool)
    nodes[:, 0] = True
    for index, (start, end) in enumerate(EDGES):
        nodes[:, end] |= there[:, index] & nodes[:, start]
    return nodes


def _used(there: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Nodes (cells, 4) whose result the output depends on."""
    nodes = np.zeros((len(there), 4), bool)
    nodes[:, 3] = True
    for index, (start, end) in reversed(tuple(enumerate(EDGES))):
        nodes[:, start] |= there[:, index] & nodes[:, end]
    return nodes


def _counted(
    chosen: npt.NDArray[np.int64], runs: npt.NDArray[np.bool_], network: npt.NDArray[np.bool_]
) -> FloatArray:
    """One for the network where it runs, then how often each operator does."""
    counts = [(runs & (chosen == op)).sum(axis=1) for op in range(len(OPERATORS))]
    return np.stack([network, *counts], axis=1).astype(np.float64)


def fbnet_views(arch: npt.NDArray[np.int8]) -> tuple[Views, FloatArray]:
    """The design (networks, columns) of the one rule, and MACs (networks,), of choices."""
    table = np.array([[_block(layer, op) for op in range(len(BLOCKS) + 1)] for layer in _layers()])
    work = table[np.arange(arch.shape[1]), arch.astype(np.int64)].sum(axis=1)
    ones = np.ones((len(arch), 1))
    return {"every operator runs": np.concatenate([ones, work], axis=1)}, work[:, 1:5].sum(axis=1)


def _layers() -> list[tuple[int, int, int, int]]:
    """(size, channels in, channels out, stride) of each layer."""
    layers, size, channels = [], INPUT_SIZE, STEM_CHANNELS
    for count, out, first in zip(LAYERS, CHANNELS, STRIDES, strict=True):
        for index in range(count):
            stride = first if index == 0 else 1
            layers.append((size, channels, out, stride))
            size, channels = size // stride, out
    return layers


def _block(layer: Sequence[int], op: int) -> list[float]:
    """Calls; MACs of plain and grouped 1 x 1, of 3 x 3 and 5 x 5 depthwise; elements (millions)."""
    size, channels, out, stride = layer
    after = (size // stride) ** 2
    moved = channels * size**2 + out * after
    if op == len(BLOCKS):  # where the shape changes a skip is a convolution
        if stride == 1 and channels == out:
            return [0.0] * 6
        return [1.0, channels * out * after / 1e6, 0.0, 0.0, 0.0, moved / 1e6]
    kernel, expansion, groups = BLOCKS[op]
    hidden = channels * expansion
    pointwise = (channels * hidden * size**2 + hidden * out * after) / groups / 1e6
    depthwise = hidden * after * kernel**2 / 1e6
    moved += 2 * hidden * size**2 + 2 * hidden * after
    plain, grouped = (pointwise, 0.0) if groups == 1 else (0.0, pointwise)
    three, five = (depthwise, 0.0) if kernel == 3 else (0.0, depthwise)
    return [3.0, plain, grouped, three, five, moved / 1e6]

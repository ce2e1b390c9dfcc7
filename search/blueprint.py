"""`Blueprint`: a network as a list of layers, from which both the torch module and the int8 graph
are made. Because both fold over the same list, what the sieve prices is what gets trained.

Padding is TFLite's SAME: the output is ceil(size / stride) and an odd remainder goes to the end.
A torch-style symmetric padding under stride 2 would cost every device a PAD operator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ConvStep:
    """A square convolution with batch norm (folded to a bias later) and optionally a ReLU."""

    channels: int  # output channels; equal to the input's where depthwise
    kernel: int
    stride: int = 1
    depthwise: bool = False
    relu: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps in sequence; where `residual`, the stage's input is added to its output."""

    steps: tuple[ConvStep, ...]
    residual: bool = False
    relu_after_sum: bool = False


@dataclass(frozen=True, slots=True)
class ConvNet:
    """Stages over (height, width, channels), then the mean over space and one linear layer."""

    input_shape: tuple[int, int, int]
    stages: tuple[Stage, ...]
    classes: int


@dataclass(frozen=True, slots=True)
class DenseNet:
    """The flattened input through ReLU layers of `widths`, then one linear layer."""

    input_shape: tuple[int, ...]
    widths: tuple[int, ...]
    classes: int


Blueprint = ConvNet | DenseNet


def out_size(size: int, stride: int) -> int:
    """Length of a SAME-padded axis after a stride."""
    return -(-size // stride)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """(before, after) of one axis."""
    total = max((out_size(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True, slots=True)
class Work:
    """Size of a network: parameters once batch norms are folded, multiply-accumulates, layers."""

    parameters: int
    macs: int
    depth: int


def work(blueprint: Blueprint) -> Work:
    """Counted from the layers alone, in microseconds."""
    if isinstance(blueprint, ConvNet):
        return _conv_work(blueprint)
    sizes = (math.prod(blueprint.input_shape), *blueprint.widths, blueprint.classes)
    macs = sum(a * b for a, b in pairwise(sizes))
    return Work(macs + sum(sizes[1:]), macs, len(sizes) - 1)


def _conv_work(net: ConvNet) -> Work:
    height, width, channels = net.input_shape
    parameters = macs = 0
    steps = [step for stage in net.stages for step in stage.steps]
    for step in steps:
        height, width = out_size(height, step.stride), out_size(width, step.stride)
        taps = step.kernel**2 * (1 if step.depthwise else channels)
        parameters += step.channels * (taps + 1)
        macs += step.channels * taps * height * width
        channels = step.channels
    head = channels * net.classes
    return Work(parameters + head + net.classes, macs + head, len(steps) + 1)

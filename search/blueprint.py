"""`Blueprint`: a network as a list of layers, from which both the torch module and the int8 graph
are made. Because both fold over the same list, what the sieve prices is what gets trained.

Padding is TFLite's SAME: the output is ceil(size / stride) and an odd remainder goes to the end.
A torch-style symmetric padding under stride 2 would cost every device a PAD operator.
"""

from __future__ import annotations

from dataclasses import dataclass

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

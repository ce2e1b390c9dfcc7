"""`Op`: the words of the graph, and what each says beside its operands.

Names are TensorFlow Lite's where it has the operator. Whatever else a framework knows is composed
of these at import (`compose.py`, `importers/layout/`): layer norm, hard sigmoid, clip, split, LSTM,
GRU and the like.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class Op(enum.StrEnum):
    """Operators. BATCH_NORM exists only between import and fusion."""

    # windows over images (n, height, width, channels)
    CONV_2D = "conv2d"
    DEPTHWISE_CONV_2D = "depthwise_conv2d"
    TRANSPOSE_CONV = "transpose_conv2d"
    MAX_POOL_2D = "max_pool2d"
    AVERAGE_POOL_2D = "average_pool2d"
    RESIZE_NEAREST_NEIGHBOR = "resize_nearest"
    RESIZE_BILINEAR = "resize_bilinear"
    # products
    FULLY_CONNECTED = "fully_connected"
    BATCH_MATMUL = "batch_matmul"
    # of two operands, element by element; shapes broadcast from the right
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    LESS_EQUAL = "less_equal"  # 1.0 where a ≤ b, else 0.0
    # of one element
    RELU = "relu"
    RELU6 = "relu6"
    LEAKY_RELU = "leaky_relu"
    PRELU = "prelu"
    ELU = "elu"
    HARD_SWISH = "hard_swish"
    LOGISTIC = "sigmoid"
    TANH = "tanh"
    GELU = "gelu"
    EXP = "exp"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    ABS = "abs"
    # along axes
    SOFTMAX = "softmax"  # the last axis
    LOG_SOFTMAX = "log_softmax"  # the last axis
    MEAN = "mean"
    SUM = "sum"
    REDUCE_MAX = "reduce_max"
    ARG_MAX = "arg_max"
    # along time
    SVDF = "svdf"  # remembers what came before: samples are frames of one stream
    UNIDIRECTIONAL_SEQUENCE_LSTM = "lstm"  # a whole sequence for each sample, from nothing
    # moves: no arithmetic
    PAD = "pad"
    RESHAPE = "reshape"
    TRANSPOSE = "transpose"
    CONCATENATION = "concatenation"
    SLICE = "slice"
    GATHER = "gather"
    # number formats
    QUANTIZE = "quantize"  # from float32, or from one encoding to another
    DEQUANTIZE = "dequantize"  # to float32, from an encoding or from float16
    # import only
    BATCH_NORM = "batch_norm"


class Activation(enum.StrEnum):
    """A clamp fused into the operator before it."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"


Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True)
class ConvAttrs:
    """conv2d and depthwise_conv2d. inputs: x, weights, bias.

    Weights of conv2d that read fewer channels than x has make it a grouped convolution; weights
    of depthwise_conv2d with m times x's channels make m outputs of each input channel.
    """

    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class TransposeConvAttrs:
    """transpose_conv2d. inputs: x, weights (out, kh, kw, in), bias.

    Each input element adds a window to the output at `stride`; `padding` is what is cut off the
    (in - 1) · stride + kernel rows and columns.
    """

    stride: Pair = (1, 1)
    padding: Padding = NO_PADDING
    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class DenseAttrs:
    """fully_connected. inputs: x (1, …, in), weights (out, in), bias; output (1, …, out)."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class MatmulAttrs:
    """batch_matmul. inputs: a (1, …, m, k), b (1, …, k, n), or (1, …, n, k) with `transpose_b`."""

    transpose_b: bool = False


@dataclass(frozen=True, slots=True)
class BinaryAttrs:
    """add, sub, mul, div. inputs: a, b; one of them may be a constant."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, slots=True)
class PoolAttrs:
    """max_pool2d and average_pool2d; padding is excluded from the average."""

    kernel: Pair
    stride: Pair
    padding: Padding = NO_PADDING


@dataclass(frozen=True, slots=True)
class ResizeAttrs:
    """resize_nearest and resize_bilinear to `size` (height, width).

    Output row i reads input row i · in / out; with `half_pixel_centers` (i + ½) · in / out - ½;
    with `align_corners` i · (in - 1) / (out - 1). Nearest takes the floor, with `align_corners`
    the nearest, half up; with `half_pixel_centers` the floor of (i + ½) · in / out.
    """

    size: Pair
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, slots=True)
class LeakyAttrs:
    """leaky_relu: x below zero is multiplied by `alpha`."""

    alpha: float


@dataclass(frozen=True, slots=True)
class GeluAttrs:
    """gelu: by the error function, or its usual tanh approximation."""

    approximate: bool = False


@dataclass(frozen=True, slots=True)
class ReduceAttrs:
    """mean, sum and reduce_max over `axes`, ascending, never the first axis."""

    axes: tuple[int, ...]
    keep_dims: bool = False


@dataclass(frozen=True, slots=True)
class AxisAttrs:
    """arg_max (drops the axis, int32), concatenation, gather (x, constant int32 indices)."""

    axis: int


@dataclass(frozen=True, slots=True)
class SvdfAttrs:
    """svdf. inputs: x (1, features), weights (filters, features), weights in time (filters,
    memory), bias (units,); output (1, units).

    A filter is a product of the frame; the last `memory` values of each are weighed in time, the
    oldest first, and `rank` filters side by side make one unit. What lies before the first frame
    is zero. One step of what int8 remembers, in int16, is `state_scale`; int8 has no activation but
    what its output's encoding saturates.
    """

    rank: int
    activation: Activation = Activation.NONE
    state_scale: float = 1.0

    def units(self, filters: int) -> int:
        """How many outputs that many filters make."""
        return filters // self.rank


@dataclass(frozen=True, slots=True)
class LstmAttrs:
    """lstm of int8, as files have it; what is float32 is unrolled at import.

    inputs: x (1, steps, features); weights of x (units, features), weights of the state (units,
    units) and biases (units,), each for the input gate, the forget gate, the cell and the output
    gate; output (1, steps, units), whose encoding the state has too. Every sample begins with zero.
    The cell is int16; one step of it is `cell_scale`, a power of two, and it is clipped to
    ±`cell_clip` where that is above zero. What the output gate lets through is rounded with
    `shown_scale` and `shown_zero_point`; files have the output's there, or nearly.
    """

    cell_scale: float
    shown_scale: float
    shown_zero_point: int
    cell_clip: float = 0.0

    @property
    def cell_bits(self) -> int:
        """The exponent of one step of the cell: -15 to -9."""
        return math.frexp(self.cell_scale)[1] - 1

    @property
    def clip_steps(self) -> int:
        """The clip in steps of the cell; 0 where there is none."""
        return int(min(self.cell_clip / self.cell_scale, 32767.0)) if self.cell_clip > 0.0 else 0


@dataclass(frozen=True, slots=True)
class PadAttrs:
    """Constant padding: (before, after) of every axis; the first axis gets none."""

    amounts: tuple[Pair, ...]
    fill: float = 0.0

    @property
    def image_padding(self) -> Padding | None:
        """The amounts where zeros go around height and width of an image only, else None."""
        if len(self.amounts) != 4 or self.fill != 0.0 or self.amounts[3] != (0, 0):
            return None
        return self.amounts[1], self.amounts[2]


@dataclass(frozen=True, slots=True)
class TransposeAttrs:
    """Output axis i is input axis `perm[i]`; the first stays."""

    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SliceAttrs:
    """Element i along axis a is input element begin[a] + i · stride[a]; strides may be negative."""

    begin: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchNormAttrs:
    """inputs: x, scale, offset (both per channel), already folded from mean and variance."""


@dataclass(frozen=True, slots=True)
class NoAttrs:
    """Operators that their operands and the output value say everything about."""


Attrs = (
    ConvAttrs
    | TransposeConvAttrs
    | DenseAttrs
    | MatmulAttrs
    | BinaryAttrs
    | PoolAttrs
    | ResizeAttrs
    | LeakyAttrs
    | GeluAttrs
    | ReduceAttrs
    | AxisAttrs
    | SvdfAttrs
    | LstmAttrs
    | PadAttrs
    | TransposeAttrs
    | SliceAttrs
    | BatchNormAttrs
    | NoAttrs
)


STREAMING = frozenset({Op.SVDF})
"""Operators that remember samples: the rows of what they read are frames, one after the other."""

RECURRENT = frozenset({Op.SVDF, Op.UNIDIRECTIONAL_SEQUENCE_LSTM})
"""Operators along time; all operands but the first are constants."""


def image_pad(padding: Padding) -> PadAttrs:
    """Zeros around height and width of an image."""
    return PadAttrs(((0, 0), *padding, (0, 0)))

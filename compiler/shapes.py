"""Shape rules: the one place that says what shape an operator's output has.

`output_shape` also refuses operands that do not fit: ranks, broadcasts, windows and axes. Shapes of
activations begin with the sample axis, which no operator may touch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from .errors import GrammarError
from .ops import (
    Attrs,
    AxisAttrs,
    ConvAttrs,
    MatmulAttrs,
    Op,
    PadAttrs,
    Padding,
    PoolAttrs,
    ReduceAttrs,
    ResizeAttrs,
    SliceAttrs,
    SvdfAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)

Shape = tuple[int, ...]
Rule = Callable[[Op, Attrs, tuple[Shape, ...]], Shape]


def output_shape(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    """Shape of the output from the inputs' shapes, weights included.

    RESHAPE is the exception: its output value holds the shape. Raises GrammarError where an
    operand has the wrong rank, or a window, an axis or a broadcast does not fit.
    """
    return _RULES.get(op, _same)(op, attrs, inputs)


def elements(shape: Shape) -> int:
    """Number of scalars in `shape`."""
    return math.prod(shape)


def broadcast(a: Shape, b: Shape) -> Shape:
    """The shape of both, aligned from the right. Raises GrammarError where they do not fit."""
    rank = max(len(a), len(b))
    padded = [(1,) * (rank - len(side)) + side for side in (a, b)]
    if any(x != y and 1 not in (x, y) for x, y in zip(*padded, strict=True)):
        raise GrammarError(f"{a} and {b} do not broadcast")
    return tuple(max(x, y) if 0 not in (x, y) else 0 for x, y in zip(*padded, strict=True))


def window_size(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int = 1
) -> int:
    """Positions of a window along one axis; partial windows do not count."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def same_padding(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Padding:
    """What TensorFlow pads under SAME: as much before as after, an odd element goes after."""

    def axis(index: int) -> tuple[int, int]:
        out = -(-size[index] // stride[index])
        covered = (out - 1) * stride[index] + dilation[index] * (kernel[index] - 1) + 1
        total = max(covered - size[index], 0)
        return total // 2, total - total // 2

    return axis(0), axis(1)


def weight_kernel(op: Op, weights: Shape) -> tuple[int, int]:
    """(height, width) of a convolution's window; every layout holds it at the same place."""
    if op not in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.TRANSPOSE_CONV):
        raise GrammarError(f"{op} has no window")
    return weights[1], weights[2]


def _same(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    return inputs[0]


def _conv(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, ConvAttrs)
    x, weights = inputs[:2]
    _need_image(op, x)
    _need_rank(op, weights, 4, "weights")
    channels = weights[0] if op is Op.CONV_2D else weights[3]
    _check_channels(op, x[3], weights)
    kernel = weight_kernel(op, weights)
    return _window(op, x, kernel, attrs.stride, attrs.padding, attrs.dilation, channels)


def _check_channels(op: Op, channels: int, weights: Shape) -> None:
    if op is Op.CONV_2D:  # groups read their share of the channels and make theirs
        fits = weights[3] > 0 and channels % weights[3] == 0
        fits = fits and weights[0] % (channels // weights[3]) == 0
    else:
        fits = weights[0] == 1 and channels > 0 and weights[3] % channels == 0
    if not fits:
        raise GrammarError(f"{op}: weights {weights} do not fit {channels} channels")


def _transpose_conv(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, TransposeConvAttrs)
    x, weights = inputs[:2]
    _need_image(op, x)
    _need_rank(op, weights, 4, "weights")
    if weights[3] != x[3]:
        raise GrammarError(f"{op}: weights {weights} do not fit {x[3]} channels")
    size = [
        (x[axis] - 1) * attrs.stride[axis - 1] + weights[axis] - sum(attrs.padding[axis - 1])
        for axis in (1, 2)
    ]
    if min(size) < 1 or min(attrs.padding[0] + attrs.padding[1]) < 0:
        raise GrammarError(f"{op}: nothing is left of {x[1]}×{x[2]} after cutting {attrs.padding}")
    return x[0], size[0], size[1], weights[0]


def _pool(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, PoolAttrs)
    x = inputs[0]
    _need_image(op, x)
    return _window(op, x, attrs.kernel, attrs.stride, attrs.padding, (1, 1), x[3])


def _resize(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, ResizeAttrs)
    _need_image(op, inputs[0])
    if min(attrs.size) < 1:
        raise GrammarError(f"{op}: an image cannot become {attrs.size[0]}×{attrs.size[1]}")
    return inputs[0][0], *attrs.size, inputs[0][3]


def _dense(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    x, weights = inputs[:2]
    _need_rank(op, weights, 2, "weights")
    if len(x) < 2 or weights[1] != x[-1]:
        raise GrammarError(f"{op}: weights {weights} do not fit the input {x}")
    return *x[:-1], weights[0]


def _matmul(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, MatmulAttrs)
    a, b = inputs
    if len(a) < 3 or len(b) < 2:
        raise GrammarError(f"{op} needs operands (1, …, m, k) and (…, k, n), not {a} and {b}")
    inner, columns = (b[-1], b[-2]) if attrs.transpose_b else (b[-2], b[-1])
    if a[-1] != inner:
        raise GrammarError(f"{op}: {a} and {b} do not fit")
    return *broadcast(a[:-2], b[:-2]), a[-2], columns


def _svdf(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, SvdfAttrs)
    x, weights, in_time, bias = inputs
    for shape, what in ((x, "frames"), (weights, "weights"), (in_time, "weights in time")):
        _need_rank(op, shape, 2, what)
    filters = weights[0]
    if weights[1] != x[1] or in_time[0] != filters:
        raise GrammarError(f"{op}: weights {weights} and {in_time} do not fit the frame {x}")
    if attrs.rank < 1 or filters % attrs.rank or bias != (attrs.units(filters),):
        raise GrammarError(f"{op}: {filters} filters of rank {attrs.rank} do not fit a bias {bias}")
    return x[0], attrs.units(filters)


def _lstm(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    x, constants = inputs[0], inputs[1:]
    _need_rank(op, x, 3, "sequences")
    units = constants[0][0] if constants[0] else 0
    expected = ((units, x[2]),) * 4 + ((units, units),) * 4 + ((units,),) * 4
    if units < 1 or constants != expected:
        raise GrammarError(f"{op}: weights {constants} do not fit the sequence {x}")
    return x[0], x[1], units


def _binary(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    return broadcast(inputs[0], inputs[1])


def _prelu(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    if broadcast(inputs[0], inputs[1]) != inputs[0]:
        raise GrammarError(f"{op}: slopes {inputs[1]} do not fit the input {inputs[0]}")
    return inputs[0]


def _reduce(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, ReduceAttrs)
    x = inputs[0]
    if not attrs.axes or list(attrs.axes) != sorted(set(attrs.axes)):
        raise GrammarError(f"{op}: axes {attrs.axes} must be ascending")
    for axis in attrs.axes:
        _need_axis(op, x, axis)
    if attrs.keep_dims:
        return tuple(1 if axis in attrs.axes else size for axis, size in enumerate(x))
    return tuple(size for axis, size in enumerate(x) if axis not in attrs.axes)


def _arg_max(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, AxisAttrs)
    _need_axis(op, inputs[0], attrs.axis)
    return inputs[0][: attrs.axis] + inputs[0][attrs.axis + 1 :]


def _concatenation(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, AxisAttrs)
    first, axis = inputs[0], attrs.axis
    _need_axis(op, first, axis)
    for shape in inputs[1:]:
        if len(shape) != len(first) or _without(shape, axis) != _without(first, axis):
            raise GrammarError(f"{op}: {shape} does not fit {first} along axis {axis}")
    return *first[:axis], sum(shape[axis] for shape in inputs), *first[axis + 1 :]


def _gather(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, AxisAttrs)
    _need_axis(op, inputs[0], attrs.axis)
    return inputs[0][: attrs.axis] + inputs[1] + inputs[0][attrs.axis + 1 :]


def _pad(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, PadAttrs)
    x = inputs[0]
    if len(attrs.amounts) != len(x) or attrs.amounts[0] != (0, 0):
        raise GrammarError(f"{op}: amounts {attrs.amounts} do not fit {x}")
    if any(amount < 0 for pair in attrs.amounts for amount in pair):
        raise GrammarError(f"{op}: amounts {attrs.amounts} must not be negative")
    return tuple(size + sum(pair) for size, pair in zip(x, attrs.amounts, strict=True))


def _transpose(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, TransposeAttrs)
    x = inputs[0]
    if sorted(attrs.perm) != list(range(len(x))) or attrs.perm[0] != 0:
        raise GrammarError(f"{op}: {attrs.perm} does not order the axes of {x} after the first")
    return tuple(x[axis] for axis in attrs.perm)


def _slice(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    assert isinstance(attrs, SliceAttrs)
    x = inputs[0]
    if not len(attrs.begin) == len(attrs.size) == len(attrs.stride) == len(x):
        raise GrammarError(f"{op}: {attrs} does not fit {x}")
    if (attrs.begin[0], attrs.size[0], attrs.stride[0]) != (0, x[0], 1):
        raise GrammarError(f"{op}: the first axis must stay whole")
    for length, begin, size, stride in zip(x, attrs.begin, attrs.size, attrs.stride, strict=True):
        last = begin + (size - 1) * stride
        if size < 1 or stride == 0 or not (0 <= begin < length and 0 <= last < length):
            raise GrammarError(f"{op}: {size} from {begin} by {stride} leaves {x}")
    return attrs.size


def _no_inference(op: Op, attrs: Attrs, inputs: tuple[Shape, ...]) -> Shape:
    raise GrammarError("a reshape's output shape cannot be inferred")


def _need_image(op: Op, shape: Shape) -> None:
    if len(shape) != 4:
        raise GrammarError(f"{op} needs an input (1, height, width, channels), not {shape}")


def _need_rank(op: Op, shape: Shape, rank: int, what: str) -> None:
    if len(shape) != rank:
        raise GrammarError(f"{op} needs {what} of rank {rank}, not {shape}")


def _need_axis(op: Op, shape: Shape, axis: int) -> None:
    if not 1 <= axis < len(shape):
        raise GrammarError(f"{op}: {shape} has no axis {axis} to work along")


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _window(
    op: Op,
    x: Shape,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    dilation: tuple[int, int],
    channels: int,
) -> Shape:
    if min(kernel + stride + dilation) < 1 or min(padding[0] + padding[1]) < 0:
        raise GrammarError(
            f"{op}: kernel {kernel}, stride {stride}, dilation {dilation}, {padding}"
        )
    height = window_size(x[1], kernel[0], stride[0], padding[0], dilation[0])
    width = window_size(x[2], kernel[1], stride[1], padding[1], dilation[1])
    if height < 1 or width < 1:
        raise GrammarError(f"{op}: a {kernel[0]}×{kernel[1]} window does not fit in {x[1]}×{x[2]}")
    return x[0], height, width, channels


_RULES: Mapping[Op, Rule] = {
    Op.CONV_2D: _conv,
    Op.DEPTHWISE_CONV_2D: _conv,
    Op.TRANSPOSE_CONV: _transpose_conv,
    Op.MAX_POOL_2D: _pool,
    Op.AVERAGE_POOL_2D: _pool,
    Op.RESIZE_NEAREST_NEIGHBOR: _resize,
    Op.RESIZE_BILINEAR: _resize,
    Op.FULLY_CONNECTED: _dense,
    Op.BATCH_MATMUL: _matmul,
    Op.ADD: _binary,
    Op.SUB: _binary,
    Op.MUL: _binary,
    Op.DIV: _binary,
    Op.MINIMUM: _binary,
    Op.MAXIMUM: _binary,
    Op.LESS_EQUAL: _binary,
    Op.PRELU: _prelu,
    Op.SVDF: _svdf,
    Op.UNIDIRECTIONAL_SEQUENCE_LSTM: _lstm,
    Op.MEAN: _reduce,
    Op.SUM: _reduce,
    Op.REDUCE_MAX: _reduce,
    Op.ARG_MAX: _arg_max,
    Op.CONCATENATION: _concatenation,
    Op.GATHER: _gather,
    Op.PAD: _pad,
    Op.TRANSPOSE: _transpose,
    Op.SLICE: _slice,
    Op.RESHAPE: _no_inference,
}

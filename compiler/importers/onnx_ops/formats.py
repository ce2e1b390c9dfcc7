"""Number formats: quantization that is taken out, casts, and what inference leaves out."""

from __future__ import annotations

import numpy as np

from ...graph import Array
from ...ops import Op
from .. import layout
from ..layout import Operand, Tensor
from .common import Call, Handler, Result

_FLOAT = 1  # TensorProto.FLOAT
_ZERO_TO_SIX = 6.0
_NOTE = (
    "QuantizeLinear and DequantizeLinear between operators are left out: this is the float32 model "
    "behind them, to be quantized anew; a ReLU6 that the quantizer left out may come back as a ReLU"
)


def _quantize(call: Call) -> Result:
    """A mark: what it reads, clamped where the format begins at zero.

    Quantizers drop a ReLU in front of a format that cannot hold anything below zero, and a ReLU6
    where it ends at six, too. Constants and the model's inputs have no operator in front of them.
    """
    from ..onnx import Quantized

    x = call.operand()
    zero = call.constant(2, "zero point")
    scale = call.weights(1, "scale")
    lowest, highest = _range(call, zero)
    call.reader.note(_NOTE)
    if not isinstance(x, Tensor) or call.frame.is_input(x):
        return Quantized(x)
    if scale.size == 1 and int(lowest) == int(0 if zero is None else zero.reshape(-1)[0]):
        top = (highest - lowest) * float(scale.reshape(()))
        clamp = Op.RELU6 if abs(top - _ZERO_TO_SIX) < 1e-3 else Op.RELU
        if clamp is Op.RELU6 or not call.frame.never_negative(x):
            x = layout.unary(call.frame, clamp, x)
    return Quantized(x)


def _dequantize(call: Call) -> Result:
    """Of a mark: what was marked. Of a constant: the real numbers."""
    from ..onnx import Quantized

    entry = call.entry()
    if isinstance(entry, Quantized):
        return entry.x
    data = call.constant(0, "operand")
    if data is None:
        raise call.unsupported("it reads nothing")
    scale = call.weights(1, "scale")
    zero = call.constant(2, "zero point")
    axis, block = call.integer("axis", 1), call.integer("block_size", 0)
    factor = _along(scale, data, axis, block)
    shift = 0.0 if zero is None else _along(zero.astype(np.float32), data, axis, block)
    return ((data.astype(np.float32) - shift) * factor).astype(np.float32)


def _along(part: Array, data: Array, axis: int, block: int) -> Array:
    """A scale or zero point as it broadcasts to the data: one, one for each channel or block."""
    if part.size == 1:
        return part.reshape(())
    axis %= data.ndim
    if block:
        return np.repeat(part, block, axis=axis).take(range(data.shape[axis]), axis=axis)
    along = [1] * data.ndim
    along[axis] = -1
    return part.reshape(along)


def _range(call: Call, zero: Array | None) -> tuple[int, int]:
    """Least and greatest number of the format, which the zero point has."""
    if zero is None:
        return 0, 255
    name = str(zero.dtype)
    bits = "".join(letter for letter in name if letter.isdigit())
    if not name.startswith(("int", "uint")):
        raise call.unsupported(f"a format {name}")
    top = 1 << int(bits)
    return (0, top - 1) if name.startswith("u") else (-top // 2, top // 2 - 1)


def _cast(call: Call) -> Operand:
    if call.integer("to", _FLOAT) != _FLOAT:
        raise call.unsupported("a cast to another format than float32")
    return call.operand()


def _cast_like(call: Call) -> Operand:
    entry, like = call.entry(0), call.entry(1)
    dtype = like.dtype if isinstance(like, np.ndarray) else np.dtype(np.float32)
    if isinstance(entry, np.ndarray) and dtype.kind in "iuf" and entry.dtype.kind in "iuf":
        return entry.astype(dtype)
    if dtype != np.float32 or not isinstance(like, np.ndarray | Tensor):
        raise call.unsupported("a cast to another format than float32")
    return call.operand()


def _same(call: Call) -> Result:
    return call.entry()


def _dropout(call: Call) -> Result:
    training = call.constant(2, "training mode")
    if training is not None and bool(training.reshape(())):
        raise call.unsupported("training mode; export the model for inference")
    return [call.operand(), None]


FORMATS: dict[str, Handler] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Identity": _same,
    "Dropout": _dropout,
}

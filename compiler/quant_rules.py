"""What the quantized form of each operator asks of the encodings around it, as one table.

The grammar checks these rules, `decide` fulfils them. Sources: TensorFlow Lite's 8-bit quantization
specification and, where it is silent, what LiteRT's reference kernels accept.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from .graph import DType, QuantParams
from .ops import Op


class QuantRule(enum.Enum):
    """How an operator's encodings hang together."""

    WEIGHTED = enum.auto()  # x, symmetric weights, bias at input scale · weight scale; output free
    FREE = enum.auto()  # every activation has its own encoding
    KEEPS = enum.auto()  # the output has the encoding of the first operand
    SHARED = enum.auto()  # all operands and the output have one encoding
    FIXED = enum.auto()  # the output's encoding is given: FIXED_OUTPUTS
    RECURRENT = enum.auto()  # x and output free, symmetric weights; in int16 what is remembered
    INDEX = enum.auto()  # any input, integers out
    CONVERTS = enum.auto()  # between encodings
    NONE = enum.auto()  # there is no quantized form


RULES: Mapping[Op, QuantRule] = {
    Op.CONV_2D: QuantRule.WEIGHTED,
    Op.DEPTHWISE_CONV_2D: QuantRule.WEIGHTED,
    Op.TRANSPOSE_CONV: QuantRule.WEIGHTED,
    Op.FULLY_CONNECTED: QuantRule.WEIGHTED,
    Op.MAX_POOL_2D: QuantRule.KEEPS,
    Op.AVERAGE_POOL_2D: QuantRule.KEEPS,
    Op.RESIZE_NEAREST_NEIGHBOR: QuantRule.KEEPS,
    Op.RESIZE_BILINEAR: QuantRule.KEEPS,
    Op.BATCH_MATMUL: QuantRule.FREE,
    Op.ADD: QuantRule.FREE,
    Op.SUB: QuantRule.FREE,
    Op.MUL: QuantRule.FREE,
    Op.DIV: QuantRule.NONE,
    Op.MINIMUM: QuantRule.SHARED,
    Op.MAXIMUM: QuantRule.SHARED,
    Op.LESS_EQUAL: QuantRule.NONE,
    Op.RELU: QuantRule.FREE,
    Op.RELU6: QuantRule.FREE,
    Op.LEAKY_RELU: QuantRule.FREE,
    Op.PRELU: QuantRule.FREE,
    Op.ELU: QuantRule.FREE,
    Op.HARD_SWISH: QuantRule.FREE,
    Op.LOGISTIC: QuantRule.FIXED,
    Op.TANH: QuantRule.FIXED,
    Op.GELU: QuantRule.FREE,
    Op.EXP: QuantRule.FREE,
    Op.SQRT: QuantRule.NONE,
    Op.RSQRT: QuantRule.FREE,
    Op.ABS: QuantRule.FREE,
    Op.SOFTMAX: QuantRule.FIXED,
    Op.LOG_SOFTMAX: QuantRule.FIXED,
    Op.MEAN: QuantRule.FREE,
    Op.SUM: QuantRule.FREE,
    Op.REDUCE_MAX: QuantRule.KEEPS,
    Op.ARG_MAX: QuantRule.INDEX,
    Op.SVDF: QuantRule.RECURRENT,
    Op.UNIDIRECTIONAL_SEQUENCE_LSTM: QuantRule.RECURRENT,
    Op.PAD: QuantRule.KEEPS,
    Op.RESHAPE: QuantRule.KEEPS,
    Op.TRANSPOSE: QuantRule.KEEPS,
    Op.CONCATENATION: QuantRule.SHARED,
    Op.SLICE: QuantRule.KEEPS,
    Op.GATHER: QuantRule.KEEPS,
    Op.QUANTIZE: QuantRule.CONVERTS,
    Op.DEQUANTIZE: QuantRule.CONVERTS,
    Op.BATCH_NORM: QuantRule.NONE,
}

FIXED_OUTPUTS: Mapping[tuple[Op, DType], QuantParams] = {
    (Op.SOFTMAX, DType.INT8): QuantParams((1 / 256,), (-128,)),
    (Op.LOG_SOFTMAX, DType.INT8): QuantParams((16 / 256,), (127,)),
    (Op.LOGISTIC, DType.INT8): QuantParams((1 / 256,), (-128,)),
    (Op.TANH, DType.INT8): QuantParams((1 / 128,), (0,)),
    (Op.SOFTMAX, DType.INT16): QuantParams((1 / 32768,), (0,)),
    (Op.LOGISTIC, DType.INT16): QuantParams((1 / 32768,), (0,)),
    (Op.TANH, DType.INT16): QuantParams((1 / 32768,), (0,)),
}

WEIGHTED = frozenset(op for op, rule in RULES.items() if rule is QuantRule.WEIGHTED)
"""Operators with inputs x, weights, bias."""

KEEPS_QUANT = frozenset(op for op, rule in RULES.items() if rule is QuantRule.KEEPS)
"""Operators whose output has the quantization parameters of their input."""

INT4_WEIGHTS = frozenset({Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.FULLY_CONNECTED})
"""Operators whose weights may be int4: LiteRT has kernels that unpack them."""

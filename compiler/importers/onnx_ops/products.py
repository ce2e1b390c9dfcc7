"""Matrix products."""

from __future__ import annotations

import numpy as np

from ...ops import Op
from .. import layout
from ..layout import Operand
from .common import Call, Handler


def _gemm(call: Call) -> Operand:
    a, b, c = call.operand(0), call.operand(1), call.optional(2)
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    if call.integer("transA", 0):
        a = layout.transpose(call.frame, a, (1, 0))
    if call.integer("transB", 0):
        b = layout.transpose(call.frame, b, (1, 0))
    if isinstance(b, np.ndarray) and isinstance(c, np.ndarray) and c.size in (1, b.shape[1]):
        bias = np.broadcast_to(beta * c.reshape(-1), (b.shape[1],))
        if c.ndim < 2 or c.shape[0] == 1:
            return layout.linear(call.frame, a, alpha * b.T, bias)
    product = layout.matmul(call.frame, a, b)
    product = _times(call, product, alpha)
    return (
        product if c is None else layout.binary(call.frame, Op.ADD, product, _times(call, c, beta))
    )


def _times(call: Call, x: Operand, factor: float) -> Operand:
    if factor == 1.0:
        return x
    return layout.binary(call.frame, Op.MUL, x, np.asarray(factor, np.float32))


def _matmul(call: Call) -> Operand:
    return layout.matmul(call.frame, call.operand(0), call.operand(1))


PRODUCTS: dict[str, Handler] = {"Gemm": _gemm, "MatMul": _matmul}

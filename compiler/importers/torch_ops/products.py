"""Handlers of matrix products, and of attention, which is two of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops import Op
from ..layout import NoWordError, Operand, Tensor, binary, linear, matmul, softmax, transpose
from .call import Call, Handler, operand

_MASKED = -1e4  # e^-10000 is 0 in float32: as good as minus infinity, and can be added


def _linear(call: Call) -> Operand:
    x, weights, bias = call.operand("input"), call.operand("weight"), call["bias"]
    if isinstance(weights, Tensor) or isinstance(bias, Tensor):
        product = matmul(call.frame, x, _flipped(call, weights))
        return product if bias is None else binary(call.frame, Op.ADD, product, operand(bias))
    return linear(call.frame, x, weights, None if bias is None else np.asarray(bias, np.float32))


def _matmul(call: Call) -> Operand:
    other = "mat2" if "mat2" in call.args else "other"
    return matmul(call.frame, call.operand("self"), call.operand(other))


def _addmm(call: Call) -> Operand:
    added, a, b = (call.operand(name) for name in ("self", "mat1", "mat2"))
    alpha, beta = float(call["alpha"]), float(call["beta"])
    is_layer = isinstance(a, Tensor) and not isinstance(b, Tensor)
    if is_layer and not isinstance(added, Tensor) and added.size in (1, b.shape[1]):
        bias = np.broadcast_to(added.reshape(-1), (b.shape[1],)) * np.float32(beta)
        return linear(call.frame, a, np.asarray(b).T * np.float32(alpha), bias)
    return _sum(call, added, matmul(call.frame, a, b))


def _baddbmm(call: Call) -> Operand:
    product = matmul(call.frame, call.operand("batch1"), call.operand("batch2"))
    return _sum(call, call.operand("self"), product)


def _sum(call: Call, added: Operand, product: Operand) -> Operand:
    """beta · added + alpha · product."""
    return binary(
        call.frame, Op.ADD, _times(call, product, call["alpha"]), _times(call, added, call["beta"])
    )


def _times(call: Call, x: Operand, factor: Any) -> Operand:
    return x if factor == 1 else binary(call.frame, Op.MUL, x, operand(factor))


def _attention(call: Call) -> Operand:
    query, key, value = (call.operand(name) for name in ("query", "key", "value"))
    if call.args.get("enable_gqa"):
        raise NoWordError("attention with fewer heads of keys than of queries")
    if call["dropout_p"]:
        raise NoWordError("attention with dropout (call .eval() before the export)")
    scale = call.args.get("scale") or query.shape[-1] ** -0.5
    scores = matmul(call.frame, query, _flipped(call, key))
    scores = binary(call.frame, Op.MUL, scores, operand(scale))
    mask = _mask(call, query.shape[-2], key.shape[-2])
    if mask is not None:
        scores = binary(call.frame, Op.ADD, scores, mask)
    return matmul(call.frame, softmax(call.frame, Op.SOFTMAX, scores, -1), value)


def _mask(call: Call, queries: int, keys: int) -> Operand | None:
    if call["is_causal"]:
        return np.triu(np.full((queries, keys), _MASKED, np.float32), 1)
    mask: Operand | None = call["attn_mask"]
    if mask is None or isinstance(mask, Tensor):
        return mask
    if mask.dtype == bool:
        return np.where(mask, np.float32(0), np.float32(_MASKED))
    return np.maximum(mask, np.float32(_MASKED)).astype(np.float32)


def _flipped(call: Call, x: Operand) -> Operand:
    """The last two axes swapped."""
    rank = len(x.shape)
    return transpose(call.frame, x, (*range(rank - 2), rank - 1, rank - 2))


PRODUCTS: dict[str, Handler] = {
    "aten.linear.default": _linear,
    "aten.mm.default": _matmul,
    "aten.bmm.default": _matmul,
    "aten.matmul.default": _matmul,
    "aten.addmm.default": _addmm,
    "aten.baddbmm.default": _baddbmm,
    "aten.scaled_dot_product_attention.default": _attention,
}

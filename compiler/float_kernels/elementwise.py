"""Operators that work element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..graph import Graph, Node
from ..ops import Activation, BinaryAttrs, GeluAttrs, LeakyAttrs, Op
from .common import Float, activate
from .erf import erf

Kernel = Callable[..., Float]


def _binary(function: Callable[[Float, Float], Float]) -> Kernel:
    def kernel(graph: Graph, node: Node, a: Float, b: Float) -> Float:
        assert isinstance(node.attrs, BinaryAttrs)
        return activate(function(a, b), node.attrs.activation)

    return kernel


def _plain(function: Callable[..., Float]) -> Kernel:
    def kernel(graph: Graph, node: Node, *operands: Float) -> Float:
        return function(*operands).astype(np.float32, copy=False)

    return kernel


def _leaky_relu(graph: Graph, node: Node, x: Float) -> Float:
    assert isinstance(node.attrs, LeakyAttrs)
    return np.where(x < 0, x * np.float32(node.attrs.alpha), x)


def _gelu(graph: Graph, node: Node, x: Float) -> Float:
    assert isinstance(node.attrs, GeluAttrs)
    return gelu(x, approximate=node.attrs.approximate).astype(np.float32)


def gelu(x: npt.NDArray[np.floating], *, approximate: bool) -> npt.NDArray[np.floating]:
    """x · Φ(x); Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016."""
    wide = x.astype(np.float64)
    if approximate:
        inner = math.sqrt(2.0 / math.pi) * (wide + 0.044715 * wide**3)
        return 0.5 * wide * (1.0 + np.tanh(inner))
    return 0.5 * wide * (1.0 + erf(wide / math.sqrt(2)))


def sigmoid(x: Float) -> Float:
    """1 / (1 + e^-x), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _batch_norm(graph: Graph, node: Node, x: Float, scale: Float, offset: Float) -> Float:
    return x * scale + offset


ELEMENTWISE: dict[Op, Kernel] = {
    Op.ADD: _binary(lambda a, b: a + b),
    Op.SUB: _binary(lambda a, b: a - b),
    Op.MUL: _binary(lambda a, b: a * b),
    Op.DIV: _binary(lambda a, b: a / b),
    Op.MINIMUM: _plain(np.minimum),
    Op.MAXIMUM: _plain(np.maximum),
    Op.LESS_EQUAL: _plain(np.less_equal),
    Op.RELU: _plain(lambda x: activate(x, Activation.RELU)),
    Op.RELU6: _plain(lambda x: activate(x, Activation.RELU6)),
    Op.LEAKY_RELU: _leaky_relu,
    Op.PRELU: _plain(lambda x, slope: np.maximum(x, 0) + np.minimum(x, 0) * slope),
    Op.ELU: _plain(lambda x: np.maximum(x, 0) + np.expm1(np.minimum(x, 0))),
    Op.HARD_SWISH: _plain(lambda x: x * np.clip(x + 3, 0, 6) / 6),
    Op.LOGISTIC: _plain(sigmoid),
    Op.TANH: _plain(np.tanh),
    Op.GELU: _gelu,
    Op.EXP: _plain(np.exp),
    Op.SQRT: _plain(np.sqrt),
    Op.RSQRT: _plain(lambda x: 1 / np.sqrt(x)),
    Op.ABS: _plain(np.abs),
    Op.BATCH_NORM: _batch_norm,
}

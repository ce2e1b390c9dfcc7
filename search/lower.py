"""Blueprint to the int8 graph that a trained candidate would become, without training it.

Shapes, operators, paddings and quantization vectors are those of the real compile; the numbers
inside are drawn from a fixed generator, since neither time, RAM nor bytes depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgekiln.compiler.graph import (
    Activation,
    AddAttrs,
    Array,
    Attrs,
    ConvAttrs,
    DenseAttrs,
    DType,
    Graph,
    NoAttrs,
    Node,
    Op,
    QuantParams,
    Value,
)

from .blueprint import Blueprint, ConvNet, ConvStep, DenseNet, Stage, same_padding

_ACTIVATION_QUANT = QuantParams((0.05,), (-3,))


def lower(blueprint: Blueprint, name: str) -> Graph:
    """The int8 graph of an untrained candidate."""
    draft = _Draft(np.random.default_rng(0))
    source = draft.activation((1, *blueprint.input_shape))
    if isinstance(blueprint, ConvNet):
        logits = _conv_net(draft, blueprint, source)
    else:
        logits = _dense_net(draft, blueprint, source)
    return Graph.build(name, draft.values, draft.nodes, (source.name,), (logits.name,))


@dataclass
class _Draft:
    """A graph under construction."""

    rng: np.random.Generator
    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def activation(self, shape: tuple[int, ...]) -> Value:
        return self._value(shape, DType.INT8, _ACTIVATION_QUANT, None)

    def weights(self, shape: tuple[int, ...], axis: int) -> Value:
        data = self.rng.integers(-127, 128, shape, dtype=np.int8)
        return self._value(shape, DType.INT8, self._per_channel(shape[axis], axis), data)

    def bias(self, channels: int) -> Value:
        data = self.rng.integers(-(2**20), 2**20, channels, dtype=np.int32)
        return self._value((channels,), DType.INT32, self._per_channel(channels, 0), data)

    def node(
        self, op: Op, inputs: tuple[Value, ...], shape: tuple[int, ...], attrs: Attrs
    ) -> Value:
        output = self.activation(shape)
        label = f"{op.value}_{len(self.nodes)}"
        names = tuple(value.name for value in inputs)
        self.nodes.append(Node(op, label, names, (output.name,), attrs))
        return output

    def _per_channel(self, channels: int, axis: int) -> QuantParams:
        scales = tuple(float(x) for x in self.rng.uniform(1e-3, 1e-2, channels))
        return QuantParams(scales, (0,) * channels, axis)

    def _value(
        self, shape: tuple[int, ...], dtype: DType, quant: QuantParams, data: Array | None
    ) -> Value:
        value = Value(f"v{len(self.values)}", shape, dtype, quant, data)
        self.values.append(value)
        return value


def _conv_net(draft: _Draft, net: ConvNet, x: Value) -> Value:
    for stage in net.stages:
        x = _stage(draft, stage, x)
    pooled = draft.node(Op.MEAN, (x,), (1, x.shape[3]), NoAttrs())
    return _dense(draft, pooled, net.classes, Activation.NONE)


def _stage(draft: _Draft, stage: Stage, x: Value) -> Value:
    entry = x
    for step in stage.steps:
        x = _conv(draft, step, x)
    if not stage.residual:
        return x
    activation = Activation.RELU if stage.relu_after_sum else Activation.NONE
    return draft.node(Op.ADD, (entry, x), x.shape, AddAttrs(activation))


def _conv(draft: _Draft, step: ConvStep, x: Value) -> Value:
    _, height, width, channels = x.shape
    kernel, stride = step.kernel, step.stride
    padding = (same_padding(height, kernel, stride), same_padding(width, kernel, stride))
    activation = Activation.RELU if step.relu else Activation.NONE
    attrs = ConvAttrs((stride, stride), padding, (1, 1), activation)
    if step.depthwise:
        op, weights = Op.DEPTHWISE_CONV_2D, draft.weights((1, kernel, kernel, channels), 3)
    else:
        op, weights = Op.CONV_2D, draft.weights((step.channels, kernel, kernel, channels), 0)
    shape = (1, -(-height // stride), -(-width // stride), step.channels)
    return draft.node(op, (x, weights, draft.bias(step.channels)), shape, attrs)


def _dense_net(draft: _Draft, net: DenseNet, x: Value) -> Value:
    if len(x.shape) > 2:
        x = draft.node(Op.RESHAPE, (x,), (1, x.elements), NoAttrs())
    for width in net.widths:
        x = _dense(draft, x, width, Activation.RELU)
    return _dense(draft, x, net.classes, Activation.NONE)


def _dense(draft: _Draft, x: Value, width: int, activation: Activation) -> Value:
    weights = draft.weights((width, x.shape[1]), 0)
    return draft.node(
        Op.FULLY_CONNECTED, (x, weights, draft.bias(width)), (1, width), DenseAttrs(activation)
    )

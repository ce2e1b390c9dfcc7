"""Blueprint to the int8 graph that a trained candidate would become, without torch or training.

The float graph is written in the order in which torch exports the module of `build`, then goes
through the compiler's own passes. So operators, paddings, names and vector lengths are those of
the real compile; the numbers are drawn from a fixed generator, since neither time, RAM nor bytes
depend on them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize

from .blueprint import Blueprint, ConvNet, ConvStep, DenseNet, Stage, same_padding

Floats = npt.NDArray[np.float32]


def lower(blueprint: Blueprint, name: str) -> Graph:
    """The int8 graph of an untrained candidate. Give the name that the compiled model will bear:
    it is written into the file, so it counts."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder(name, (1, *blueprint.input_shape))
    if isinstance(blueprint, ConvNet):
        logits = _conv_net(builder, blueprint, rng)
    else:
        logits = _dense_net(builder, blueprint, rng)
    sample = rng.uniform(0.0, 1.0, (1, *blueprint.input_shape)).astype(np.float32)
    return quantize(optimize(builder.finish(logits)), sample)


def _conv_net(builder: GraphBuilder, net: ConvNet, rng: np.random.Generator) -> str:
    x = builder.input
    for stage in net.stages:
        x = _stage(builder, stage, x, rng)
    x = builder.mean(x)
    return builder.fully_connected(x, _weights(rng, (net.classes, builder.shape(x)[1])))


def _stage(builder: GraphBuilder, stage: Stage, x: str, rng: np.random.Generator) -> str:
    entry = x
    for step in stage.steps:
        x = _conv(builder, step, x, rng)
    if stage.residual:
        x = builder.add(entry, x)
    return builder.relu(x) if stage.relu_after_sum else x


def _conv(builder: GraphBuilder, step: ConvStep, x: str, rng: np.random.Generator) -> str:
    _, height, width, channels = builder.shape(x)
    kernel, stride = step.kernel, (step.stride, step.stride)
    rows = same_padding(height, kernel, step.stride)
    columns = same_padding(width, kernel, step.stride)
    padding = (rows, columns)
    if rows[0] != rows[1] or columns[0] != columns[1]:
        x = builder.pad(x, padding)
        padding = ((0, 0), (0, 0))
    if step.depthwise:
        weights = _weights(rng, (1, kernel, kernel, channels))
        x = builder.depthwise_conv2d(x, weights, stride=stride, padding=padding)
    else:
        weights = _weights(rng, (step.channels, kernel, kernel, channels))
        x = builder.conv2d(x, weights, stride=stride, padding=padding)
    ones, zeros = np.ones(step.channels, np.float32), np.zeros(step.channels, np.float32)
    x = builder.batch_norm(x, ones, zeros)
    return builder.relu(x) if step.relu else x


def _dense_net(builder: GraphBuilder, net: DenseNet, rng: np.random.Generator) -> str:
    features = math.prod(net.input_shape)
    x = builder.input
    if len(net.input_shape) > 1:
        x = builder.reshape(x, (1, features))
    for width in net.widths:
        weights = _weights(rng, (width, builder.shape(x)[1]))
        x = builder.relu(builder.fully_connected(x, weights))
    return builder.fully_connected(x, _weights(rng, (net.classes, builder.shape(x)[1])))


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.uniform(-0.5, 0.5, shape).astype(np.float32)

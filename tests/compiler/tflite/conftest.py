"""Graphs of one drawn operator, and LiteRT run sample by sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from edgekiln.compiler.grammar import CHANNEL_AXIS, check
from edgekiln.compiler.graph import Array, DType, Graph, Node, QuantParams, Value
from edgekiln.compiler.ops import Attrs, Op
from edgekiln.compiler.quant_rules import RULES, WEIGHTED, QuantRule
from edgekiln.compiler.shapes import output_shape


@pytest.fixture(scope="session")
def run_litert_samples() -> Callable[..., tuple[Array, ...]]:
    """(file, batches by input name, kernels) -> every output, sample after sample."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolvers = {"reference": OpResolverType.BUILTIN_REF, "auto": OpResolverType.AUTO}

    def run(
        model: bytes, batches: Mapping[str, Array], kernels: str = "reference"
    ) -> tuple[Array, ...]:
        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=resolvers[kernels],
            num_threads=1,
        )
        interpreter.allocate_tensors()
        entries = {d["name"]: d["index"] for d in interpreter.get_input_details()}
        ends = [d["index"] for d in interpreter.get_output_details()]
        rows: list[list[Array]] = []
        for sample in range(len(next(iter(batches.values())))):
            interpreter.reset_all_variables()
            for name, index in entries.items():
                interpreter.set_tensor(index, batches[name][sample : sample + 1])
            interpreter.invoke()
            rows.append([interpreter.get_tensor(index) for index in ends])
        return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))

    return run


@pytest.fixture(scope="session")
def one_operator() -> Callable[..., Graph]:
    """(op, attrs, shapes, dtype, seed, weights) -> a graph of one operator, all numbers drawn.

    The first shape is an input's; where the operator has weights the second is theirs; all others
    are further inputs'. Outputs use most of their codes.
    """
    return _one_operator


@pytest.fixture(scope="session")
def draw_codes() -> Callable[[Graph, int, int], dict[str, Array]]:
    """(graph, count, seed) -> samples of every input: all codes of integers, normal floats."""

    def draw(graph: Graph, count: int, seed: int) -> dict[str, Array]:
        rng = np.random.default_rng(seed)
        return {
            name: _codes(rng, graph.values[name].dtype, (count, *graph.values[name].shape[1:]))
            for name in graph.inputs
        }

    return draw


def _one_operator(
    op: Op,
    attrs: Attrs,
    shapes: tuple[tuple[int, ...], ...],
    dtype: DType,
    seed: int,
    weights: DType = DType.INT8,
) -> Graph:
    rng = np.random.default_rng(seed)
    keeps = RULES[op] in (QuantRule.KEEPS, QuantRule.SHARED)
    shared = _drawn_quant(rng, dtype)
    values = [
        Value(f"x{index}", shape, dtype, shared if keeps else _drawn_quant(rng, dtype))
        for index, shape in enumerate(shapes[:1] if op in WEIGHTED else shapes)
    ]
    inputs = tuple(value.name for value in values)
    if op in WEIGHTED:
        values += _drawn_weights(rng, op, shapes[1], values[0], weights)
        shapes = (*shapes, values[2].shape)
    quant = shared if keeps else _wide_output(rng, op, values)
    values.append(Value("y", output_shape(op, attrs, shapes), dtype, quant))
    node = Node(op, "y", tuple(value.name for value in values[:-1]), ("y",), attrs)
    graph = Graph.build(f"{op}_{dtype}_{seed}", values, [node], inputs, ("y",))
    check(graph)
    return graph


def _drawn_quant(rng: np.random.Generator, dtype: DType) -> QuantParams | None:
    if dtype is DType.FLOAT32:
        return None
    zero_point = int(rng.integers(-128, 128)) if dtype is DType.INT8 else 0
    return QuantParams((float(np.float32(2.0 ** rng.uniform(-8, 0))),), (zero_point,))


def _drawn_weights(
    rng: np.random.Generator, op: Op, shape: tuple[int, ...], x: Value, dtype: DType
) -> list[Value]:
    channels = shape[CHANNEL_AXIS[op]]
    if x.quant is None:
        data = [rng.normal(0, 1, size).astype(np.float32) for size in (shape, channels)]
        return [
            Value(name, array.shape, DType.FLOAT32, data=array)
            for name, array in zip(("weights", "bias"), data, strict=True)
        ]
    scales = np.float32(2.0 ** rng.uniform(-8, -4, channels))
    limit = 7 if dtype is DType.INT4 else 127
    codes = rng.integers(-limit, limit + 1, shape).astype(np.int8)
    bias = DType.INT32 if x.dtype is DType.INT8 else DType.INT64
    spread = limit * (30 if x.dtype is DType.INT8 else 3000) * math.sqrt(codes.size / channels)
    offsets = rng.normal(0, spread, channels).astype(bias.numpy)
    bias_scales = np.float32(x.quant.scale[0]) * scales
    zeros = (0,) * channels
    along = QuantParams(tuple(map(float, scales)), zeros, CHANNEL_AXIS[op])
    bias_quant = QuantParams(tuple(map(float, bias_scales)), zeros, 0)
    return [
        Value("weights", shape, dtype, along, codes),
        Value("bias", (channels,), bias, bias_quant, offsets),
    ]


def _wide_output(rng: np.random.Generator, op: Op, values: list[Value]) -> QuantParams | None:
    """An encoding in which sums of products spread over most codes, and some saturate."""
    x, other = values[:2]
    if x.quant is None or other.quant is None:
        return None
    terms = other.elements / other.shape[-1] if op is Op.BATCH_MATMUL else 1
    if op in WEIGHTED:
        terms = other.elements / len(other.quant.scale)
    widest = 7 if other.dtype is DType.INT4 else 127
    if other.dtype is DType.INT16:
        widest = 32767
    sums = math.sqrt(terms) * widest * x.quant.scale[0] * float(np.median(other.quant.scale))
    drawn = _drawn_quant(rng, x.dtype)
    assert drawn is not None
    return QuantParams((float(np.float32(sums * rng.uniform(0.4, 1.5))),), drawn.zero_point)


def _codes(rng: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Array:
    if dtype is DType.FLOAT32:
        return rng.normal(0.2, 1.0, shape).astype(np.float32)
    limits = np.iinfo(dtype.numpy)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype.numpy)

"""TensorFlow Lite files of operators along time, written with the schema's own classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edgekiln.compiler.graph import Array

Rng = np.random.Generator


@dataclass
class File:
    """One operator's file, tensor by tensor."""

    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=list)

    def tensor(
        self,
        shape: tuple[int, ...],
        kind: str,
        scale: float | None = None,
        zero_point: int = 0,
        data: Array | None = None,
        variable: bool = False,
    ) -> int:
        """The new tensor's index; `kind` is its type in the schema's words."""
        from ai_edge_litert import schema_py_generated as schema

        made = schema.TensorT()
        made.name, made.shape = f"t{len(self.tensors)}", list(shape)
        made.type, made.isVariable = getattr(schema.TensorType, kind), variable
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.array([scale], np.float32)
            made.quantization.zeroPoint = np.array([zero_point], np.int64)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def finish(
        self,
        name: str,
        version: int,
        ends: tuple[list[int], int],
        options: dict[str, Any],
        intermediates: tuple[int, ...] = (),
    ) -> bytes:
        """The bytes; `ends` are the operator's operands, the first the model's input, and its
        output."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        model, inside, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
        model.version, model.subgraphs = 3, [inside]
        model.buffers = [schema.BufferT(), *self.buffers]
        operator.inputs, operator.outputs = ends[0], [ends[1]]
        operator.intermediates = list(intermediates)
        table = {"SVDF": "SVDFOptions"}.get(name, "UnidirectionalSequenceLSTMOptions")
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        operator.builtinOptions = getattr(schema, f"{table}T")()
        vars(operator.builtinOptions).update(options)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = version
        model.operatorCodes = [code]
        inside.tensors, inside.operators = self.tensors, [operator]
        inside.inputs, inside.outputs = [ends[0][0]], [ends[1]]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _codes(rng: Rng, shape: tuple[int, ...], kind: type) -> Array:
    limits = np.iinfo(kind)
    return rng.integers(limits.min + 1, limits.max + 1, shape).astype(kind)


@pytest.fixture(scope="session")
def int8_svdf() -> Callable[..., bytes]:
    """(seed, features, units, rank, memory, bias) -> a file whose outputs use many codes."""

    def make(
        seed: int, features: int, units: int, rank: int, memory: int, *, bias: bool = True
    ) -> bytes:
        rng, file, filters = np.random.default_rng(seed), File(), units * rank
        scales = np.float32([0.03, 0.01, 3e-5] * rng.uniform(0.5, 2, 3))
        state = np.float32(scales[0] * scales[1] * np.sqrt(features) * rng.uniform(0.2, 1.2))
        output = state * scales[2] * np.sqrt(memory * rank) * 2e6 * rng.uniform(0.5, 2)
        weights, in_time = _codes(rng, (filters, features), np.int8), (filters, memory)
        operands = [
            file.tensor((1, features), "INT8", scales[0], int(rng.integers(-128, 128))),
            file.tensor(weights.shape, "INT8", scales[1], data=weights),
            file.tensor(in_time, "INT16", scales[2], data=_codes(rng, in_time, np.int16)),
            -1,
            file.tensor((1, filters * memory), "INT16", state, variable=True),
        ]
        if bias:
            offsets = rng.integers(-(10**8), 10**8, units).astype(np.int32)
            operands[3] = file.tensor((units,), "INT32", state * scales[2], data=offsets)
        end = file.tensor((1, units), "INT8", output, int(rng.integers(-128, 128)))
        options = {"rank": rank, "fusedActivationFunction": 1}
        return file.finish("SVDF", 3, (operands, end), options)

    return make


@pytest.fixture(scope="session")
def float_svdf() -> Callable[..., bytes]:
    """(seed, features, units, rank, memory, activation) -> a float32 file."""

    def make(
        seed: int, features: int, units: int, rank: int, memory: int, activation: int = 0
    ) -> bytes:
        rng, file, filters = np.random.default_rng(seed), File(), units * rank
        shapes = ((filters, features), (filters, memory), (units,))
        operands = [file.tensor((1, features), "FLOAT32")]
        operands += [
            file.tensor(shape, "FLOAT32", data=rng.normal(0, 1, shape).astype(np.float32))
            for shape in shapes
        ]
        operands.append(file.tensor((1, filters * memory), "FLOAT32", variable=True))
        end = file.tensor((1, units), "FLOAT32")
        options = {"rank": rank, "fusedActivationFunction": activation}
        return file.finish("SVDF", 1, (operands, end), options)

    return make


@pytest.fixture(scope="session")
def int8_lstm() -> Callable[..., bytes]:
    """(seed, steps, features, units, cell_bits, clip) -> a file of one int8 LSTM.

    With `swept`, biases bring the activations of each gate every number that they can read;
    `shown` is the encoding of what the output gate lets through, where that is not the output's.
    """

    def make(
        seed: int,
        steps: int,
        features: int,
        units: int,
        *,
        cell_bits: int = -12,
        clip: float = 0.0,
        swept: bool = False,
        shown: tuple[float, int] | None = None,
    ) -> bytes:
        rng, file = np.random.default_rng(seed), File()
        x, out = np.float32([0.03, 0.8 / 128] * rng.uniform(0.5, 1.5, 2))
        zero = int(rng.integers(-30, 30))
        operands = [file.tensor((1, steps, features), "INT8", x, int(rng.integers(-128, 128)))]
        scales = []
        for inner in (features, units):
            for _ in range(4):
                scales.append(np.float32(0.02 / np.sqrt(inner) * rng.uniform(0.5, 2)))
                codes = _codes(rng, (units, inner), np.int8)
                operands.append(file.tensor(codes.shape, "INT8", scales[-1], data=codes))
        operands += [-1] * 3
        for scale in scales[:4]:
            spread = np.full(units, 1 / 3) if not swept else rng.uniform(-8, 8, units)
            bias = (spread * rng.choice((-1, 1), units) / (x * scale)).astype(np.int32)
            operands.append(file.tensor((units,), "INT32", x * scale, data=bias))
        operands += [-1] * 2
        operands.append(file.tensor((1, units), "INT8", out, zero, variable=True))
        operands.append(file.tensor((1, units), "INT16", 2.0**cell_bits, variable=True))
        operands += [-1] * 4
        end = file.tensor((1, steps, units), "INT8", out, zero)
        inner = [file.tensor((0,), "INT16", 2.0**-12) for _ in range(4)]
        inner.append(file.tensor((0,), "INT8", *(shown or (float(out), zero))))
        options = {"fusedActivationFunction": 4, "cellClip": clip}
        name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
        return file.finish(name, 3, (operands, end), options, tuple(inner))

    return make

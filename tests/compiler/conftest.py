"""Oracles of the compiler's tests: LiteRT, ONNX Runtime, graphs from a seed, trained models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekiln.compiler import pricing
from edgekiln.compiler.artifacts import EmittedArtifact
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8
from edgekiln.compiler.shapes import same_padding
from edgekiln.runtime.bundle import write_bundle
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.reference import build_reference
from edgekiln.targets.evidence import Tier
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import CostTable, OpCost, Target

RunLiteRt = Callable[..., dict[str, Array]]
NONE = ((0, 0), (0, 0))


@pytest.fixture(scope="session", autouse=True)
def _timed_for_a_moment() -> Iterator[None]:
    """No test asks how fast this machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "TIMED_S", 0.01)
        yield


@pytest.fixture(scope="session")
def run_litert() -> RunLiteRt:
    """(file, batch, kernels) -> every tensor by name; kernels: reference | xnnpack."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolvers = {"reference": OpResolverType.BUILTIN_REF, "xnnpack": OpResolverType.BUILTIN}

    def run(model: bytes, batch: Array, kernels: str = "reference") -> dict[str, Array]:
        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=resolvers[kernels],
            experimental_preserve_all_tensors=kernels == "reference",
            num_threads=1,
        )
        position = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(position, batch.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(position, batch)
        interpreter.invoke()
        if kernels != "reference":
            output = interpreter.get_output_details()[0]
            return {output["name"]: interpreter.get_tensor(output["index"])}
        return {
            detail["name"]: interpreter.get_tensor(detail["index"])
            for detail in interpreter.get_tensor_details()
            if detail["name"]
        }

    return run


@pytest.fixture(scope="session")
def run_onnx() -> Callable[[bytes, Array], Array]:
    """(file, batch) -> logits, on the CPU provider."""
    import onnxruntime

    def run(model: bytes, batch: Array) -> Array:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])

    return run


@pytest.fixture(scope="session")
def run_session() -> Callable[[bytes, dict[str, Array]], list[Array]]:
    """(ONNX file, inputs by name) -> all outputs, on the CPU provider."""
    import onnxruntime

    def run(model: bytes, inputs: dict[str, Array]) -> list[Array]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [np.asarray(found) for found in session.run(None, inputs)]

    return run


@pytest.fixture(scope="session")
def random_graph() -> Callable[[int], Graph]:
    """seed -> an optimized float graph: random operators, sizes, strides, padding, activations."""
    return lambda seed: optimize(_draw(np.random.default_rng(seed), f"random_{seed}"))


@pytest.fixture(scope="session")
def quantized() -> Callable[[Graph, int], Graph]:
    """(graph, seed) -> the graph quantized on random samples."""

    def make(graph: Graph, seed: int = 0) -> Graph:
        return quantize(graph, samples(graph, 64, seed))

    return make


@pytest.fixture(scope="session")
def draw_samples() -> Callable[..., Array]:
    """(graph, count, seed) -> float samples."""
    return samples


def samples(graph: Graph, count: int, seed: int = 0) -> Array:
    shape = (count, *graph.input.shape[1:])
    return np.random.default_rng(seed).normal(0.2, 1.0, shape).astype(np.float32)


def _draw(rng: np.random.Generator, name: str) -> Graph:
    if rng.random() < 0.15:
        build = GraphBuilder(name, (1, int(rng.integers(1, 40))))
        return build.finish(_dense_head(rng, build, build.input))
    size = tuple(int(n) for n in rng.integers(5, 13, 2))
    build = GraphBuilder(name, (1, *size, int(rng.integers(1, 7))))
    value = build.input
    for _ in range(int(rng.integers(1, 6))):
        value = _layer(rng, build, value)
    if rng.random() < 0.6:
        value = build.mean(value)
    else:
        value = build.reshape(value, (1, int(np.prod(build.shape(value)))))
    return build.finish(_dense_head(rng, build, value))


def _dense_head(rng: np.random.Generator, build: GraphBuilder, value: str) -> str:
    for _ in range(int(rng.integers(0, 2))):
        width = int(rng.integers(1, 20))
        weights = rng.normal(0, 1, (width, build.shape(value)[1]))
        value = build.fully_connected(
            value, weights, rng.normal(0, 1, width), activation=_activation(rng)
        )
    weights = rng.normal(0, 1, (int(rng.integers(2, 9)), build.shape(value)[1]))
    return build.fully_connected(value, weights, rng.normal(0, 1, len(weights)))


def _activation(rng: np.random.Generator) -> Activation:
    return list(Activation)[rng.integers(3)]


def _layer(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    kinds = (_conv, _conv, _depthwise, _residual, _pool, _norm, _padded)
    return kinds[rng.integers(len(kinds))](rng, build, x)


def _geometry(rng: np.random.Generator, build: GraphBuilder, x: str) -> dict[str, Any]:
    """Kernel, stride, dilation and padding that fit `x`; SAME, none or arbitrary padding."""
    size = build.shape(x)[1:3]
    kernel = tuple(int(rng.integers(1, min(3, n) + 1)) for n in size)
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    dilation = (1, 1)
    if rng.random() < 0.2 and min(size) > 4:
        stride, dilation = (1, 1), (2, 2)
    padding = [
        NONE,
        same_padding(size, kernel, stride, dilation),  # type: ignore[arg-type]
        tuple(tuple(int(n) for n in rng.integers(0, 3, 2)) for _ in range(2)),
    ][rng.integers(3)]
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}


def _conv(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    shape = _geometry(rng, build, x)
    channels = build.shape(x)[3]
    out = int(rng.integers(1, 9))
    weights = rng.normal(0, 1, (out, *shape.pop("kernel"), channels))
    bias = rng.normal(0, 1, out)
    return build.conv2d(x, weights, bias, activation=_activation(rng), **shape)


def _depthwise(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    shape = _geometry(rng, build, x)
    channels = build.shape(x)[3]
    weights = rng.normal(0, 1, (1, *shape.pop("kernel"), channels))
    bias = rng.normal(0, 1, channels)
    return build.depthwise_conv2d(x, weights, bias, activation=_activation(rng), **shape)


def _residual(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    channels = build.shape(x)[3]
    scale = 10.0 ** rng.uniform(-2, 1)  # operands of very different ranges
    y = build.conv2d(x, rng.normal(0, scale, (channels, 1, 1, channels)))
    return build.add(x, y, activation=_activation(rng))


def _pool(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    # ONNX Runtime merges a pad into the pool after it, and then refuses a kernel of 1.
    size = build.shape(x)[1:3]
    if min(size) < 2:
        return x
    kernel = tuple(int(rng.integers(2, min(3, n) + 1)) for n in size)
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    padding = NONE if rng.random() < 0.5 else same_padding(size, kernel, stride)  # type: ignore[arg-type]
    if rng.random() < 0.5:
        return build.average_pool2d(x, kernel, stride, padding)
    if rng.random() < 0.3:  # zeros may stand for -inf after a ReLU only
        return build.max_pool2d(build.relu(x), kernel, stride, ((1, 1), (1, 1)))
    return build.max_pool2d(x, kernel, stride, padding)


def _norm(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    channels = build.shape(x)[3]
    x = build.batch_norm(x, rng.uniform(-2, 2, channels), rng.normal(0, 1, channels))
    return build.relu6(x) if rng.random() < 0.5 else x


def _padded(rng: np.random.Generator, build: GraphBuilder, x: str) -> str:
    amount = tuple(tuple(int(n) for n in rng.integers(0, 2, 2)) for _ in range(2))
    return build.pad(x, amount)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The digits data, split and sealed."""
    return load_dataset("sklearn:digits")


@pytest.fixture(scope="session")
def student_path(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional classifier of digits, trained for a moment, as a `.pt2` file."""
    return _trained(digits, 8, 4, tmp_path_factory.mktemp("models") / "student.pt2")


@pytest.fixture(scope="session")
def teacher_path(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wider one, trained longer."""
    return _trained(digits, 32, 12, tmp_path_factory.mktemp("models") / "teacher.pt2")


@pytest.fixture(scope="session")
def priced_host() -> Target:
    """The host with made-up cost tables: nothing is timed, so tests are repeatable."""
    host = load_target("host")
    ops = {op: OpCost(per_call_us=0.2, ns_per_mac=0.1, ns_per_byte=0.05) for op in host.ops}
    tables = (
        CostTable(ops, engine, "int8", Tier.T1, f"made-up-{engine}", 0.5, 2.0, per_run_us)
        for engine, per_run_us in (("litert", 0.0), ("onnxruntime", 6.0))
    )
    return dataclasses.replace(host, costs=tuple(tables))


def _trained(data: Dataset, width: int, epochs: int, path: Path) -> Path:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(width)
    net = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * width, 10),
    )
    images = data.contract.preprocess(data.x[data.train]).transpose(0, 3, 1, 2)
    inputs, labels = torch.from_numpy(images.copy()), torch.from_numpy(data.y[data.train].copy())
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(net(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(net.eval(), (inputs[:2],), dynamic_shapes=(batch,))
    torch.export.save(program, path)
    return path


@pytest.fixture
def bundle_of(tmp_path: Path) -> Callable[[Graph, Sequence[tuple[str, EmittedArtifact]]], Path]:
    """(int8 graph, artifacts by target) -> a bundle file with three golden vectors."""

    def make(graph: Graph, artifacts: Sequence[tuple[str, EmittedArtifact]]) -> Path:
        shape = graph.input.shape[1:]
        raw = np.random.default_rng(2).normal(0, 1, (3, *shape)).astype(np.float32)
        expected = run_int8(graph, quantize_input(graph, raw))
        quant = params(graph, graph.outputs[0])
        classes = tuple(str(index) for index in range(expected.shape[1]))
        contract = Contract(TensorSpec("x", shape), classes)
        reference = build_reference(contract, raw, np.full(3, 0.9), expected.argmax(1))
        members = {
            "contract.json": msgspec.json.encode(contract),
            "golden.npz": pack_golden(Golden(raw, expected, quant.scale[0], quant.zero_point[0])),
            "reference.bin": reference.to_bytes(),
        }
        none = EstimateRecord(0.0, 0.0, 0.0, "bytes", "T0", "test")
        listed = []
        for target, made in artifacts:
            members |= made.members(target)
            figures = (made.path(target), made.nbytes, made.sha256, "int8.v1", 1.0)
            listed.append(Artifact(target, made.format, *figures, None, none, none))
        gate, lineage = Gate(True, ()), Lineage("0")
        draft = Manifest("small", (), tuple(listed), None, 1.0, gate, lineage, {}, {})
        write_bundle(tmp_path / "small.ekb", draft, members)
        return tmp_path / "small.ekb"

    return make

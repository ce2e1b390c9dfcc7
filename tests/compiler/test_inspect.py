"""Inspection: every format tells the same story, and damage is one line."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekiln.compiler.data import Dataset
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import ImportModelError
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.inspect import describe
from edgekiln.compiler.passes import lower_padding, optimize
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.plan import plan_arena
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.request import CompileRequest, TargetRequest
from edgekiln.compiler.workload import workload
from edgekiln.runtime.errors import BundleError
from edgekiln.targets.target import Target


@pytest.fixture(scope="module")
def graph(digits: Dataset, student_path: Path) -> Graph:
    float_graph = optimize(import_model(student_path))
    return quantize(float_graph, digits.contract.preprocess(digits.x[digits.train]))


@pytest.fixture(scope="module")
def files(
    graph: Graph, student_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = {"tflite": folder / "m.tflite", "onnx": folder / "m.onnx", "pt2": student_path}
    paths["tflite"].write_bytes(emit_tflite(graph))
    paths["onnx"].write_bytes(emit_onnx(graph))
    return paths


@pytest.mark.parametrize("kind", ["tflite", "onnx", "pt2"])
@pytest.mark.slow
def test_macs_are_those_of_the_workload_when_read_from_any_format(
    files: dict[str, Path], graph: Graph, kind: str
) -> None:
    found = describe(files[kind])
    assert found.kind == kind
    assert found.macs == workload(graph).macs
    assert f"{found.macs:,} MACs" in found.headline[2]
    weighted = [layer.macs for layer in found.layers if layer.macs]
    assert weighted == [layer.macs for layer in workload(graph).layers if layer.macs]


def test_tflite_tells_shapes_and_scales_when_quantized(files: dict[str, Path]) -> None:
    found = describe(files["tflite"])
    assert found.headline[0].startswith("input input 1×8×8×1 int8, scale ")
    assert found.layers[0].op == "conv_2d"
    assert found.layers[0].shape == (1, 8, 8, 8)
    assert found.layers[0].weight_bytes == 8 * 9 + 8 * 4
    assert all(layer.dtype == "int8" and layer.quantization for layer in found.layers)


def test_onnx_layers_are_not_quantizers_when_in_qdq_form(files: dict[str, Path]) -> None:
    found = describe(files["onnx"])
    assert not any("Quantize" in layer.op for layer in found.layers)
    assert "QuantizeLinear and DequantizeLinear nodes" in found.headline[3]
    (first, *_) = (layer for layer in found.layers if layer.op == "Conv")
    assert first.quantization.startswith("scale ")
    assert first.weight_bytes == 8 * 9 + 8 * 4


@pytest.mark.parametrize("seed", range(8))
def test_macs_are_those_of_the_workload_when_the_graph_is_random(
    random_graph: Callable[[int], Graph],
    quantized: Callable[[Graph, int], Graph],
    tmp_path: Path,
    seed: int,
) -> None:
    int8 = quantized(random_graph(seed), 0)
    (tmp_path / "m.tflite").write_bytes(emit_tflite(int8))
    (tmp_path / "m.onnx").write_bytes(emit_onnx(int8))
    expected = workload(int8).macs
    assert describe(tmp_path / "m.tflite").macs == expected
    assert describe(tmp_path / "m.onnx").macs == expected


def test_bundle_tells_gate_accuracy_and_artifacts_when_described(
    digits: Dataset, student_path: Path, priced_host: Target, tmp_path: Path
) -> None:
    request = CompileRequest("digits", student_path, digits, (TargetRequest(priced_host),))
    result = compile_model(request)
    result.write(tmp_path / "digits.ekb")
    found = describe(tmp_path / "digits.ekb")
    text = "\n".join(found.headline)
    assert result.bundle_id in text
    assert f"int8 {result.manifest.accuracy_int8:.4f}" in text
    assert "gate: passed" in text
    assert "artifact host/tflite" in text
    assert "estimated T1" in text
    assert found.macs > 0
    (tmp_path / "digits.ekb").write_bytes(result.data[:-7])
    with pytest.raises(BundleError):
        describe(tmp_path / "digits.ekb")


def test_torch_operators_are_listed_when_the_model_cannot_be_compiled(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(torch.cumprod(self.one(x), dim=1))

    net = Net()
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 4),)), tmp_path / "s.pt2")
    found = describe(tmp_path / "s.pt2")
    assert found.headline[0].startswith("cannot be compiled: ")
    assert "cumprod" in found.headline[0]
    assert [layer.op for layer in found.layers] == [
        *("aten.linear.default", "aten.cumprod.default", "aten.linear.default")
    ]
    assert found.layers[0].shape == (1, 3)


def test_file_is_shown_all_the_same_when_an_operator_cannot_be_imported(
    files: dict[str, Path], tmp_path: Path
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    from benchmarks.mutations_tflite import packed

    model = schema.ModelT.InitFromPackedBuf(files["tflite"].read_bytes())
    code = model.operatorCodes[-1]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    code.customCode = b"Tomorrow"
    path = tmp_path / "custom.tflite"
    path.write_bytes(packed(model))
    found = describe(path)
    assert "custom 'tomorrow'" in found.layers[-1].op
    assert any("cannot be compiled: " in line for line in found.headline)
    assert found.ram_bytes is None
    assert found.layers[0] == describe(files["tflite"]).layers[0]


def test_layers_name_their_operands_when_read_from_tflite(
    files: dict[str, Path], graph: Graph
) -> None:
    found = describe(files["tflite"])
    for layer, before in zip(found.layers[1:], found.layers, strict=False):
        assert before.output in layer.inputs
    assert found.ram_bytes == plan_arena(lower_padding(graph)).arena_bytes
    spread = found.layers[0].histogram
    assert spread is not None
    weights = graph.constant(graph.nodes[0].inputs[1])
    assert (sum(spread.counts), spread.unit) == (weights.size, "codes")
    assert (spread.low, spread.high) == (weights.min(), weights.max())


def test_arrays_are_listed_when_the_file_holds_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((6, 4), np.float32), y=np.arange(6) % 3)
    assert describe(tmp_path / "d.npz").headline == (
        "array x: float32 of shape (6, 4), 0 to 0",
        "array y: int64 of shape (6,), 0 to 2, 3 different, 2 to 2 of each",
    )
    (tmp_path / "d.npz").write_bytes(b"PK junk")
    with pytest.raises(ImportModelError, match=r"d\.npz' is no sound"):
        describe(tmp_path / "d.npz")


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_damage_is_one_line_when_bytes_change(
    files: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    data = files[kind].read_bytes()
    refused: list[str] = []
    path = tmp_path / f"m.{kind}"
    for seed in range(150):
        rng = random.Random(seed)
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 4, 32))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice((len(data), rng.randrange(len(data))))])
        try:
            describe(path)
        except ImportModelError as error:
            refused.append(str(error))
    assert len(refused) > 75
    assert all("\n" not in text and text.startswith(str(path)) for text in refused)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("m.h5", b"", "unknown format '.h5'; known: .ekb, .tflite, .onnx, .pt2, .npz"),
        ("m.tflite", b"", "no TFL3 identifier"),
        ("m.onnx", b"", "not a valid ONNX model"),
        ("m.pt2", b"junk", "not a torch.export file"),
    ],
)
def test_one_line_is_said_when_the_file_is_something_else(
    tmp_path: Path, name: str, data: bytes, text: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImportModelError, match=text):
        describe(tmp_path / name)
    with pytest.raises(ImportModelError, match="no such file"):
        describe(tmp_path / "none.onnx")

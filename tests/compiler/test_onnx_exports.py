"""Whole models as torch's two ONNX exporters write them, against ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgekiln.compiler.grammar import check
from edgekiln.compiler.importers.layout import Imported
from edgekiln.compiler.importers.onnx import import_onnx
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


def ds_cnn() -> nn.Module:
    """Depthwise separable convolutions, as for keywords."""
    blocks = [_block(1, 16, 3, 2), _block(16, 16, 3, 1, 16), _block(16, 24, 1)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))


class MobileNet(nn.Module):
    """An inverted residual with squeeze and excitation; the features are flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _block(3, 8, 3, 2)
        self.body = nn.Sequential(_block(8, 32, 1), _block(32, 32, 3, 1, 32), nn.Conv2d(32, 8, 1))
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.Hardswish(), nn.Conv2d(4, 8, 1)
        )
        self.head = nn.Linear(8 * 8 * 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.body(x)
        gated: Tensor = self.head(torch.flatten(x + y * nn.functional.hardsigmoid(self.gate(y)), 1))
        return gated


class Segmenter(nn.Module):
    """Down, up again by a transposed convolution and by interpolation, and joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = _block(3, 8, 3), nn.Sequential(nn.MaxPool2d(2), _block(8, 16, 3))
        self.up, self.last = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(24, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        down = self.down(first)
        wide = nn.functional.interpolate(down, scale_factor=2.0, mode="bilinear")
        joined: Tensor = self.last(torch.cat([self.up(down), first, wide[:, :8]], 1))
        return joined


def row_net() -> nn.Module:
    """One direction: convolutions over time."""
    convolutions = [nn.Conv1d(6, 16, 5, 2), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*convolutions, nn.Conv1d(16, 8, 3), nn.Flatten(), nn.Linear(8 * 13, 4))


class Attention(nn.Module):
    """A block of a vision transformer, patches included."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.mixed, self.joined = nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.dense = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        samples, tokens, width = x.shape
        mixed = self.mixed(self.norm(x)).reshape(samples, tokens, 3, 4, 4).permute(2, 0, 3, 1, 4)
        q, k, v = mixed.unbind(0)
        heads = torch.softmax(q @ k.transpose(-1, -2) / 2.0, -1) @ v
        x = x + self.joined(heads.transpose(1, 2).reshape(samples, tokens, width))
        dense: Tensor = x + self.dense(self.norm(x))
        return dense.mean(1)


class Recurrent(nn.Module):
    """Two layers of both directions, and the last step's answer."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layers = kind(5, 8, batch_first=True, bidirectional=True, num_layers=2)  # type: ignore[call-arg]
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.layers(x)[0][:, -1])
        return answer


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ds_cnn": (ds_cnn, (1, 1, 20, 10)),
    "mobilenet": (MobileNet, (1, 3, 16, 16)),
    "segmenter": (Segmenter, (1, 3, 16, 16)),
    "row_net": (row_net, (1, 6, 64)),
    "attention": (Attention, (1, 3, 16, 16)),
    "lstm": (lambda: Recurrent(nn.LSTM), (1, 6, 5)),
    "gru": (lambda: Recurrent(nn.GRU), (1, 6, 5)),
}
MOST_TRANSPOSES = {"attention": 4}  # the heads; every other model moves nothing


def exported(name: str, folder: Path, *, dynamo: bool, opset: int | None) -> Path:
    """The file that torch writes for a model with weights from a seed."""
    build, shape = MODELS[name]
    torch.manual_seed(0)
    module = build().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    path = folder / f"{name}.onnx"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(shape),),
            path,
            input_names=["x"],
            output_names=["y"],
            dynamo=dynamo,
            opset_version=opset,
        )
    return path


def difference(imported: Imported, path: Path, shape: tuple[int, ...]) -> float:
    """The largest difference to ONNX Runtime, of the graph as imported and as optimized."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    (source,), (sink,) = imported.inputs, imported.outputs
    feeds = {source.value: source.to_graph(x)}
    optimized = optimize(imported.graph)
    results = [
        run_all(imported.graph, feeds)[sink.value],
        run_all(optimized, feeds)[optimized.outputs[0]],
    ]
    return max(float(np.abs(sink.from_graph(y) - expected).max()) for y in results)


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["dynamo", "script"])
@pytest.mark.parametrize("name", list(MODELS))
def test_exported_model_equals_onnxruntime(name: str, exporter: str, tmp_path: Path) -> None:
    logging.disable(logging.WARNING)
    try:
        dynamo = exporter == "dynamo"
        path = exported(name, tmp_path, dynamo=dynamo, opset=None if dynamo else 17)
    finally:
        logging.disable(logging.NOTSET)
    imported = import_onnx(path, name)
    check(imported.graph)
    assert difference(imported, path, MODELS[name][1]) < 1e-4
    moved = sum(node.op is Op.TRANSPOSE for node in imported.graph.nodes)
    assert moved <= MOST_TRANSPOSES.get(name, 0)


@pytest.mark.slow
def test_weights_of_unrolled_steps_are_held_once(tmp_path: Path) -> None:
    imported = import_onnx(exported("gru", tmp_path, dynamo=False, opset=17), "gru")
    constants = [value for value in imported.graph.values.values() if value.data is not None]
    matrices = [value for value in constants if len(value.shape) == 2 and min(value.shape) > 1]
    # Two layers of two directions: the input's matrix, the gates' and the new state's; the head's.
    assert len(matrices) == 2 * 2 * 3 + 1


LIGHT = {"densenet121": 0, "inception_v2": 0, "resnet50": 0, "squeezenet": 0, "shufflenet": 16}
"""Architectures that the onnx wheel holds, and their transposes: one for each channel shuffle."""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LIGHT))
def test_known_architecture_equals_onnxruntime(name: str) -> None:
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    imported = import_onnx(path, name)
    check(imported.graph)
    (source,), (sink,) = imported.inputs, imported.outputs
    x = np.random.default_rng(0).random(source.shape, np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its files hold initializers that nobody reads
    session = onnxruntime.InferenceSession(str(path), options)
    expected = session.run(None, {source.name: x})[0]
    actual = run_all(imported.graph, {source.value: source.to_graph(x)})[sink.value]
    np.testing.assert_allclose(sink.from_graph(actual), expected, rtol=1e-3, atol=1e-6)
    moved = sum(node.op is Op.TRANSPOSE for node in imported.graph.nodes)
    assert moved == LIGHT[name]

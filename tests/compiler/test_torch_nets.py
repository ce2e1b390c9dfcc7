"""Whole networks from torch to files: no transposes, the same answers in every engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import nn
from torch.nn import functional

from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import ImportModelError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers.torch_export import import_program, import_torch
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Op, ReduceAttrs
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8

torch.set_num_threads(1)


def settle(module: nn.Module) -> nn.Module:
    """Random statistics and parameters, evaluation mode."""
    torch.manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.normal_(0, 0.5)
    return module.eval()


def export(module: nn.Module, x: torch.Tensor) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (x,))


def decompose(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions()


class InvertedResidual(nn.Module):
    """MobileNetV2's block."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inside = before * 3
        self.body = nn.Sequential(
            nn.Conv2d(before, inside, 1, bias=False),
            nn.BatchNorm2d(inside),
            nn.ReLU6(inplace=True),
            nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False),
            nn.BatchNorm2d(inside),
            nn.ReLU6(inplace=True),
            nn.Conv2d(inside, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.residual = before == after and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.residual else y


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU6(),
            InvertedResidual(8, 8, 1),
            InvertedResidual(8, 12, 2),
            InvertedResidual(12, 12, 1),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return functional.softmax(self.classifier(torch.flatten(y, 1)), dim=1)


class UNet(nn.Module):
    """Two levels, joined by concatenation; one map for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.join = nn.Conv2d(20, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = self.down(x)
        deep = self.deep(level)
        resized = functional.interpolate(deep, scale_factor=2, mode="bilinear")
        return self.join(torch.cat([level, self.up(deep), resized], dim=1))


class Waves(nn.Module):
    """A 1-D convolutional net."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(6, 8, 5, 2, 2)
        self.norm = nn.BatchNorm1d(8)
        self.second = nn.Conv1d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8 * 8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm(self.first(x)))
        y = functional.max_pool1d(y + self.second(y), 2)
        return self.head(y.flatten(1))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv2d(8, 2, 1)
        self.excite = nn.Conv2d(2, 8, 1)
        self.head = nn.Linear(8 * 16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.hardswish(self.conv(x))
        scale = functional.silu(self.squeeze(y.mean((2, 3), keepdim=True)))
        y = y * functional.hardsigmoid(self.excite(scale))
        return self.head(torch.flatten(functional.avg_pool2d(y, 2), 1))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mobilenet": (MobileNet, (1, 3, 16, 16)),
    "unet": (UNet, (1, 3, 8, 8)),
    "waves": (Waves, (1, 6, 32)),
    "squeeze_excite": (SqueezeExcite, (1, 3, 8, 8)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.slow
def test_import_program_writes_no_transpose_when_net_is_convolutional(name: str) -> None:
    factory, shape = NETS[name]
    module = settle(factory())
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    for program in (export(module, x), decompose(export(module, x))):
        graph = optimize(import_program(program, name).graph)
        assert not [node for node in graph.nodes if node.op is Op.TRANSPOSE]
    imported = import_program(export(module, x), name)
    if len(shape) == 4:
        assert imported.graph.input.shape == (1, shape[2], shape[3], shape[1])
    result = imported.outputs[0].from_graph(
        run_float(optimize(imported.graph), imported.inputs[0].to_graph(x.numpy()))
    )
    with torch.no_grad():
        expected = module(x)
    if name == "mobilenet":  # the softmax at the end is left out
        result = functional.softmax(torch.from_numpy(result), 1).numpy()
    assert np.abs(result - expected.numpy()).max() <= 1e-4 * max(1.0, expected.abs().max())


def test_import_program_means_the_whole_image_when_a_row_is_averaged() -> None:
    module = settle(nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()))
    x = torch.randn(1, 3, 9)
    graph = optimize(import_program(export(module, x), "row").graph)
    assert [node.op for node in graph.nodes][-2:] == [Op.CONV_2D, Op.MEAN]
    assert graph.nodes[-1].attrs == ReduceAttrs((1, 2))
    with torch.no_grad():
        expected = module(x).numpy()
    assert np.abs(run_float(graph, x.numpy().transpose(0, 2, 1)) - expected).max() <= 1e-5


class Causal(nn.Module):
    """Padding stands between the input and the convolution that settles its order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 3, dilation=2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(functional.relu(self.conv(functional.pad(x, (4, 0))))[:, :, -1])


def test_import_torch_takes_steps_first_when_that_spares_transposes() -> None:
    module = settle(Causal())
    x = torch.randn(1, 3, 20)
    graph = import_torch(export(module, x), "causal")
    assert graph.input.shape == (1, 20, 3)
    assert not [node for node in graph.nodes if node.op is Op.TRANSPOSE]
    with torch.no_grad():
        expected = module(x).numpy()
    assert np.abs(run_float(graph, x.numpy().transpose(0, 2, 1)) - expected).max() <= 1e-5


def test_import_torch_says_how_to_export_when_several_samples_are_mixed() -> None:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    module = settle(nn.Sequential(layer, nn.Flatten(), nn.Linear(30, 3)))
    with pytest.raises(ImportModelError, match=r"mixes the 4 samples .* a batch of 1, or with a f"):
        import_torch(export(module, torch.randn(4, 5, 6)), "mixed")


class LastStep(nn.Module):
    """A recurrent classifier: what the layer shows at the last step."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.layer(x)[0][:, -1])


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(30, 3))


DEPLOYED = NETS | {
    "lstm": (lambda: LastStep(nn.LSTM(6, 4, batch_first=True)), (1, 5, 6)),
    "gru": (lambda: LastStep(nn.GRU(6, 4, batch_first=True)), (1, 5, 6)),
    "transformer": (transformer, (1, 5, 6)),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("waves", "gru") else pytest.mark.slow)
        for name in DEPLOYED
    ],
)
def test_imported_net_answers_the_same_when_it_runs_in_litert_and_onnx_runtime(name: str) -> None:
    factory, shape = DEPLOYED[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    graph = optimize(import_program(export(settle(factory()), x), name).graph)
    rng = np.random.default_rng(7)
    samples = rng.normal(size=(16, *graph.input.shape[1:])).astype(np.float32)
    expected = run_float(graph, samples)
    reach = np.abs(expected).max()
    assert np.abs(in_litert(graph, samples) - expected).max() <= 1e-4 * max(1.0, reach)
    assert np.abs(in_onnx_runtime(graph, samples) - expected).max() <= 1e-4 * max(1.0, reach)

    int8 = quantize(graph, samples)
    codes = quantize_input(int8, samples)
    answers = run_int8(int8, codes)
    assert np.array_equal(in_litert(int8, codes), answers)
    assert np.abs(dequantize_output(int8, answers) - expected).max() <= 0.06 * reach


def in_litert(graph: Graph, samples: Array) -> Array:
    """Answers of LiteRT's reference kernels, sample by sample."""
    interpreter = Interpreter(
        model_content=emit_tflite(graph),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    answers = []
    for sample in samples:
        interpreter.set_tensor(source["index"], sample[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(result["index"])[0])
    return np.stack(answers)


def in_onnx_runtime(graph: Graph, samples: Array) -> Array:
    session = onnxruntime.InferenceSession(emit_onnx(graph), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: sample[None]})[0] for sample in samples])

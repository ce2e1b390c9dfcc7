"""Every operator of the torch importer, as a small module, against torch itself.

Each module is imported twice: from the training IR and from core ATen.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekiln.compiler.errors import ImportModelError, UnsupportedOpError
from edgekiln.compiler.importers.layout import Imported
from edgekiln.compiler.importers.torch_export import import_program, import_torch
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.passes import optimize

torch.set_num_threads(1)

Function = Callable[[torch.Tensor], Any]


class Applied(nn.Module):
    """A function of the input and of parameters made for it."""

    def __init__(self, function: Function, *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


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


def compare(program: torch.export.ExportedProgram, module: nn.Module, x: torch.Tensor) -> Imported:
    """Import, optimize and run; 1e-4 of torch. Several samples where the graph can tell them."""
    imported = import_program(program, "net")
    graph = optimize(imported.graph)
    with torch.no_grad():
        expected = module(x).numpy()
    actual = run_float(graph, imported.inputs[0].to_graph(x.numpy()))
    result = imported.outputs[0].from_graph(actual)
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    return imported


IMAGE, ROWS, STEPS, FEATURES = (1, 6, 8, 7), (1, 6, 12), (1, 5, 6), (1, 12)

MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(6, 4, 3, 2, 1), ROWS),
    "conv1d_same": (lambda: nn.Conv1d(6, 4, 4, padding="same", dilation=2, groups=2), ROWS),
    "conv2d_groups": (lambda: nn.Conv2d(6, 9, 3, padding=1, groups=3), IMAGE),
    "depthwise_multiplier": (lambda: nn.Conv2d(6, 12, (3, 2), 2, groups=6, bias=False), IMAGE),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(6, 4, 3, 2, 1, output_padding=1), ROWS),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1), IMAGE),
    "conv_transpose2d_groups": (
        lambda: nn.ConvTranspose2d(6, 4, (2, 3), (2, 1), groups=2, dilation=2, bias=False),
        IMAGE,
    ),
    "max_pool1d": (lambda: nn.MaxPool1d(3, 2, 1), ROWS),
    "max_pool2d_ceil": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "max_pool2d_dilated": (lambda: nn.MaxPool2d(2, 1, dilation=2), IMAGE),
    "avg_pool1d": (lambda: nn.AvgPool1d(3, 2), ROWS),
    "avg_pool2d_ceil": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "avg_pool2d_real": (
        lambda: nn.AvgPool2d(2, 2, 1, ceil_mode=True, count_include_pad=False),
        IMAGE,
    ),
    "adaptive_avg1d": (lambda: nn.AdaptiveAvgPool1d(4), ROWS),
    "adaptive_avg2d_uneven": (lambda: nn.AdaptiveAvgPool2d((3, 5)), IMAGE),
    "adaptive_max2d": (lambda: nn.AdaptiveMaxPool2d((1, 1)), IMAGE),
    "adaptive_max1d": (lambda: nn.AdaptiveMaxPool1d(5), ROWS),
    "nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "nearest_down": (lambda: nn.Upsample(size=(5, 4)), IMAGE),
    "nearest1d": (lambda: nn.Upsample(scale_factor=3), ROWS),
    "bilinear": (lambda: nn.Upsample(size=(13, 9), mode="bilinear"), IMAGE),
    "bilinear_corners": (
        lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        IMAGE,
    ),
    "linear1d": (lambda: nn.Upsample(scale_factor=2, mode="linear"), ROWS),
    "linear": (lambda: nn.Linear(12, 5), FEATURES),
    "linear_steps": (lambda: nn.Linear(6, 4, bias=False), STEPS),
    "bmm": (lambda: Applied(lambda x: torch.bmm(x, x.transpose(1, 2))), STEPS),
    "baddbmm": (
        lambda: Applied(lambda x: torch.baddbmm(x[:, :, :5], x, x.mT, beta=0.5, alpha=2)),
        STEPS,
    ),
    "addmm": (lambda: Applied(lambda x: torch.addmm(x[:, :3], x, x.new_ones(12, 3))), FEATURES),
    "einsum": (lambda: Applied(lambda x: torch.einsum("btf,bsf->bts", x, x)), STEPS),
    "norm1d": (lambda: nn.BatchNorm1d(6), ROWS),
    "norm_features": (lambda: nn.BatchNorm1d(12, affine=False), FEATURES),
    "norm2d": (lambda: nn.BatchNorm2d(6), IMAGE),
    "layer_norm": (lambda: nn.LayerNorm(6), STEPS),
    "layer_norm_image": (lambda: nn.LayerNorm((6, 8, 7)), IMAGE),
    "group_norm": (lambda: nn.GroupNorm(3, 6), IMAGE),
    "instance_norm": (lambda: nn.InstanceNorm2d(6, affine=True), IMAGE),
    "rms_norm": (lambda: nn.RMSNorm(6), STEPS),
    "prelu": (lambda: nn.PReLU(6), IMAGE),
    "prelu_one": (lambda: nn.PReLU(), FEATURES),
    "reflect": (lambda: nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE),
    "replicate": (lambda: nn.ReplicationPad1d((2, 1)), ROWS),
    "constant": (lambda: nn.ConstantPad2d((1, 0, 0, 2), 0.5), IMAGE),
    "circular": (lambda: nn.Conv2d(6, 3, 3, padding=1, padding_mode="circular"), IMAGE),
    "pixel_shuffle": (lambda: Applied(lambda x: functional.pixel_shuffle(x[:, :4], 2)), IMAGE),
    "channel_shuffle": (lambda: nn.ChannelShuffle(3), IMAGE),
    "lstm": (lambda: First(nn.LSTM(6, 4, batch_first=True)), STEPS),
    "lstm_stacked": (
        lambda: First(nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True, bias=False)),
        STEPS,
    ),
    "lstm_time_first": (lambda: First(nn.LSTM(6, 4)), (5, 1, 6)),
    "lstm_last": (lambda: LastState(nn.LSTM(6, 4, 2, batch_first=True)), STEPS),
    "gru": (lambda: First(nn.GRU(6, 4, batch_first=True)), STEPS),
    "gru_last": (lambda: LastState(nn.GRU(6, 4, batch_first=True)), STEPS),
    "multihead": (lambda: SelfAttention(6, 2), STEPS),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True, norm_first=True),
        STEPS,
    ),
    "causal": (
        lambda: Applied(lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True)),
        STEPS,
    ),
}


class First(nn.Module):
    """The sequence that a recurrent layer gives."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)[0]


class LastState(nn.Module):
    """The hidden states that a recurrent layer ends with, of its last layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> Any:
        states = self.layer(x)[1]
        return (states[0] if isinstance(states, tuple) else states)[-1]


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> Any:
        return self.attention(x, x, x, need_weights=False)[0]


FUNCTIONS: dict[str, tuple[Function, tuple[int, ...]]] = {
    "arithmetic": (lambda x: (2 * x - 1) / 4 + x * x - (3 - x), IMAGE),
    "alpha": (lambda x: torch.add(x, x, alpha=2).sub(x, alpha=0.5), FEATURES),
    "in_place": (lambda x: x.clone().mul_(2).add_(1).relu_(), FEATURES),
    "broadcast": (lambda x: x * x.mean((2, 3), keepdim=True) + x[:, :1], IMAGE),
    "extremes": (lambda x: torch.minimum(x, -x) + torch.maximum(x, 0.1 * x), IMAGE),
    "divide": (lambda x: x / (x.abs() + 1) + 1 / (x.square() + 2), FEATURES),
    "roots": (lambda x: (x * x + 1).sqrt() + (x**2 + 1).rsqrt() + (x.abs() + 1) ** -0.5, FEATURES),
    "exp_neg": (lambda x: torch.exp(-x.abs()) + x**3, FEATURES),
    "relus": (
        lambda x: functional.relu(x) + functional.relu6(4 * x) + functional.leaky_relu(x, 0.2),
        IMAGE,
    ),
    "clamps": (lambda x: functional.hardtanh(x) + x.clamp(min=0.2) + x.clamp(max=-0.1), IMAGE),
    "elus": (
        lambda x: functional.elu(x, 0.7) + functional.selu(x) + functional.celu(x, 1.5),
        IMAGE,
    ),
    "sigmoids": (
        lambda x: functional.silu(x) + functional.hardsigmoid(3 * x) + functional.hardswish(3 * x),
        IMAGE,
    ),
    "smooth": (
        lambda x: x.tanh() + functional.gelu(x) + functional.gelu(x, approximate="tanh"),
        FEATURES,
    ),
    "reductions": (lambda x: x.mean((2, 3)) + x.sum((2, 3)) + x.amax((2, 3)), IMAGE),
    "over_channels": (lambda x: x.mean(1, keepdim=True) - x.amin(1, keepdim=True), IMAGE),
    "max_values": (lambda x: x.max(dim=1).values + x.var(1) + x.var(1, unbiased=False), STEPS),
    "softmax_inside": (lambda x: functional.softmax(x, 1) + functional.log_softmax(x, 2), STEPS),
    "softmax_image": (lambda x: functional.softmax(x, 1) * 2, IMAGE),
    "argmax": (lambda x: x.argmax(1), FEATURES),
    "cat_stack": (
        lambda x: torch.stack([torch.cat([x, x * 2], 1), torch.cat([x, x], 1)], 1),
        IMAGE,
    ),
    "split": (lambda x: sum(part.relu() for part in x.split(2, 1)), IMAGE),
    "chunk_unbind": (lambda x: x.chunk(2, 1)[1] + torch.stack(x.unbind(1)[:3], 1), IMAGE),
    "slices": (lambda x: x[:, 1:5, ::2, -3:] + x[:, 2:6, 1::2, :3], IMAGE),
    "select": (lambda x: x[:, 2] + x.select(1, -1) + x.narrow(1, 0, 1).squeeze(1), IMAGE),
    "index": (lambda x: x[:, [3, 0, 1]] + x.index_select(1, torch.tensor([1, 1, 2])), IMAGE),
    "flip_roll": (lambda x: x.flip(2) + x.roll(1, 1), IMAGE),
    "expand": (lambda x: x.mean(1, keepdim=True).expand_as(x) + x[:, :1].repeat(1, 6, 1, 1), IMAGE),
    "views": (
        lambda x: x.reshape(1, 2, 3, 56).permute(0, 3, 2, 1).flatten(1).unflatten(1, (16, -1)),
        IMAGE,
    ),
    "squeeze": (lambda x: x.unsqueeze(1).transpose(1, 2).squeeze(2).contiguous(), STEPS),
    "through_views": (
        lambda x: (y := x * 2, y.view(1, 12)[:, :6].mul_(3), y + 1)[2],
        FEATURES,
    ),
    "constants": (lambda x: x + torch.arange(12.0).flip(0) * torch.ones(1, 12), FEATURES),
}

QUICK = ("conv_transpose2d", "avg_pool2d_ceil", "lstm_time_first", "multihead", "through_views")
"""One of each kind; the others take a minute together."""


def make(name: str) -> tuple[nn.Module, torch.Tensor]:
    if name in MODULES:
        factory, shape = MODULES[name]
        module = settle(factory())
    else:
        function, shape = FUNCTIONS[name]
        module = Applied(function)
    return module, torch.randn(shape, generator=torch.Generator().manual_seed(5))


def decompose(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in (*MODULES, *FUNCTIONS)
    ],
)
def test_import_program_computes_the_same_when_operator_is_known(name: str) -> None:
    module, x = make(name)
    compare(export(module, x), module, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MODULES, *FUNCTIONS])
def test_import_program_computes_the_same_when_program_is_core_aten(name: str) -> None:
    module, x = make(name)
    compare(decompose(export(module, x)), module, x)


def test_import_torch_reads_a_sequence_when_batch_is_free() -> None:
    module = settle(nn.Sequential(Last(nn.GRU(6, 4, batch_first=True)), nn.Linear(4, 3)))
    x = torch.randn(4, 5, 6)
    batch = torch.export.Dim("batch", min=2, max=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    graph = optimize(import_torch(program, "sequence"))
    assert graph.input.shape == (1, 5, 6)
    with torch.no_grad():
        assert np.abs(run_float(graph, x.numpy()) - module(x).numpy()).max() <= 1e-5


class Last(nn.Module):
    """What a recurrent layer shows at the last step."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)[0][:, -1]


def test_import_torch_raises_one_line_when_another_axis_is_free() -> None:
    length = torch.export.Dim("length", min=2, max=64)
    program = torch.export.export(
        Applied(lambda x: x.mean(1)), (torch.randn(1, 5, 3),), dynamic_shapes=({1: length},)
    )
    with pytest.raises(ImportModelError, match="axis 1 of the input has no fixed length"):
        import_torch(program, "free")


def test_import_torch_says_how_to_mend_it_when_samples_of_a_sequence_come_second() -> None:
    program = export(First(nn.LSTM(6, 4)), torch.randn(5, 2, 6))
    with pytest.raises(UnsupportedOpError, match=r"samples come first \(batch_first=True\)"):
        import_torch(program, "sequence")

"""Imported torch modules compute what torch computes, in NHWC, with no transpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import ImportModelError, UnsupportedOpError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.importers.torch_export import import_torch
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize

torch.set_num_threads(1)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(functional.relu6(self.norm(self.depthwise(x))))


class ChannelLast(nn.Module):
    """Ends in a mean by axes, keeps 1×1 and squeezes it away."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 6, (3, 2), (2, 1), (1, 0), dilation=(1, 2))
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.conv(functional.pad(x, (0, 1, 2, 0))), inplace=True)
        return self.head(y.mean((-1, -2), keepdim=True).squeeze(-1).squeeze(-1))


class Flattened(nn.Module):
    """A flatten after a convolution: element order matters, for the norm as for the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, 2, 1)
        self.norm = nn.BatchNorm1d(64)
        self.head = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        y = functional.relu(self.norm(y.view(y.shape[0], -1)))
        return functional.log_softmax(self.head(functional.dropout(y, 0.5, self.training)), 1)


class Gate(nn.Module):
    """A global mean that is convolved again."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv2d(3, 7, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.flatten(functional.relu(self.conv(self.pool(x))), 1)


def _small_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Residual(8),
        nn.MaxPool2d(2),
        nn.AvgPool2d(3, 1, 1),
        nn.AdaptiveAvgPool2d((2, 2)),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (_small_cnn, (3, 16, 16)),
    "odd": (_small_cnn, (3, 17, 16)),
    "channel_last": (ChannelLast, (2, 9, 11)),
    "flattened": (Flattened, (1, 8, 8)),
    "gate": (Gate, (3, 5, 4)),
    "mlp_on_images": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(50, 3)), (2, 5, 5)),
    "mlp": (
        lambda: nn.Sequential(nn.Linear(13, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)),
        (13,),
    ),
    "norm_first": (
        lambda: nn.Sequential(
            nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, padding="same"), Gate3()
        ),
        (3, 6, 6),
    ),
    "stem_pool": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(36, 2)
        ),
        (1, 8, 8),
    ),
}


class Gate3(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.adaptive_avg_pool2d(x, 1).reshape(x.shape[0], -1)


def make(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(3)
    factory, shape = MODULES[name]
    module = factory()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.normal_(part.bias)
    return module.eval(), torch.randn(16, *shape)


def channels_last(x: torch.Tensor) -> Array:
    return x.permute(0, 2, 3, 1).numpy() if x.ndim == 4 else x.numpy()


def export(module: nn.Module, x: torch.Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(module, (x[:1],))


@pytest.mark.parametrize("name", MODULES)
def test_import_torch_computes_the_same_when_module_is_supported(name: str) -> None:
    module, x = make(name)
    imported = import_torch(export(module, x), name)
    graph = optimize(imported)
    with torch.no_grad():
        expected = module(x).numpy()
    for candidate in (imported, graph):
        actual = run_float(candidate, channels_last(x))
        if name == "flattened":  # the log-softmax at the end is left out
            actual = actual - np.log(np.exp(actual).sum(axis=1, keepdims=True))
        assert np.abs(actual - expected).max() <= 1e-4


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.slow
def test_import_torch_gives_one_graph_when_program_is_decomposed_or_dynamic(name: str) -> None:
    module, x = make(name)
    graph = optimize(import_torch(export(module, x), name))
    batch = torch.export.Dim("batch", min=2, max=64)
    dynamic = torch.export.export(module, (x[:4],), dynamic_shapes=({0: batch},))
    again = optimize(import_torch(dynamic, name))
    assert [node.op for node in again.nodes] == [node.op for node in graph.nodes]
    assert emit_tflite(again) == emit_tflite(graph)


def test_import_torch_reads_core_aten_when_program_is_decomposed() -> None:
    module, x = make("flattened")
    program = export(module, x).run_decompositions()
    graph = optimize(import_torch(program, "core"))
    reference = optimize(import_torch(export(module, x), "core"))
    batch = channels_last(x)
    assert np.abs(run_float(graph, batch) - run_float(reference, batch)).max() <= 1e-5


@pytest.mark.parametrize("name", ["cnn", "odd", "channel_last", "gate", "stem_pool"])
def test_emitted_file_has_no_transpose_when_graph_is_convolutional(name: str) -> None:
    from ai_edge_litert import schema_py_generated as schema

    module, x = make(name)
    model = schema.ModelT.InitFromPackedBuf(
        emit_tflite(optimize(import_torch(export(module, x), name))), 0
    )
    codes = {code.builtinCode for code in model.operatorCodes}
    assert schema.BuiltinOperator.TRANSPOSE not in codes


def test_import_model_reads_a_saved_program_when_file_is_good(tmp_path: Path) -> None:
    module, x = make("cnn")
    path = tmp_path / "small.pt2"
    torch.export.save(export(module, x), path)
    graph = import_model(path)
    assert graph.name == "small"
    with torch.no_grad():
        expected = module(x).numpy()
    assert np.abs(run_float(graph, channels_last(x)) - expected).max() <= 1e-4
    assert any(node.source == "3.depthwise" for node in graph.nodes)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 torn"])
def test_import_model_raises_one_line_when_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pt2"
    path.write_bytes(content)
    with pytest.raises(ImportModelError, match=r"bad\.pt2: .* damaged; export it again") as error:
        import_model(path)
    assert "\n" not in str(error.value)


def test_import_model_raises_one_line_when_file_is_cut_short(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "empty.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something", "else")
    with pytest.raises(ImportModelError, match="export it again") as error:
        import_model(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "match"), [("model.h5", "unknown model format '.h5'"), ("none.pt2", "no such file")]
)
def test_import_model_raises_when_file_is_unknown_or_missing(
    tmp_path: Path, name: str, match: str
) -> None:
    with pytest.raises(ImportModelError, match=match):
        import_model(tmp_path / name)


class Positive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softplus())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.flatten(self.inner(x), 1)


UNSUPPORTED: list[tuple[nn.Module, tuple[int, ...], str]] = [
    (Positive(), (1, 5, 5), r"operator 'aten\.softplus\.default' at 'inner\.1' \(test_torch_expo"),
    (nn.Sequential(nn.BatchNorm2d(1)).train(), (1, 4, 4), r"call \.eval\(\) before"),
    (nn.AvgPool2d(2, divisor_override=3), (1, 4, 4), "an average pool with its own divisor"),
]


@pytest.mark.parametrize(("module", "shape", "match"), UNSUPPORTED)
def test_import_torch_names_operator_place_and_ways_out_when_it_is_unknown(
    module: nn.Module, shape: tuple[int, ...], match: str
) -> None:
    program = torch.export.export(module, (torch.randn(2, *shape),))
    with pytest.raises(UnsupportedOpError, match=match) as error:
        import_torch(program, "net")
    assert "instead" in str(error.value)
    assert "\n" not in str(error.value)


def test_import_torch_names_embedding_when_input_is_integers() -> None:
    program = torch.export.export(nn.Embedding(5, 3), (torch.zeros(1, 4, dtype=torch.int64),))
    with pytest.raises(UnsupportedOpError, match=r"operator 'aten\.embedding\.default'"):
        import_torch(program, "words")
    counts = torch.export.export(nn.ReLU(), (torch.zeros(1, 4, dtype=torch.int64),))
    with pytest.raises(ImportModelError, match=r"the input is torch\.int64"):
        import_torch(counts, "counts")


class TwoInputs(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


def test_import_torch_raises_when_model_has_two_inputs_or_no_logits() -> None:
    x = torch.zeros(1, 3)
    program = torch.export.export(TwoInputs(), (x, x))
    with pytest.raises(ImportModelError, match="one input and one output"):
        import_torch(program, "two")
    image = torch.export.export(nn.Conv2d(1, 1, 3), (torch.zeros(1, 1, 5, 5),))
    with pytest.raises(ImportModelError, match="must be logits"):
        import_torch(image, "image")


def test_optimize_leaves_four_kinds_of_nodes_when_network_is_separable() -> None:
    module, x = make("cnn")
    graph: Graph = optimize(import_torch(export(module, x), "cnn"))
    assert [node.op for node in graph.nodes][:4] == [
        Op.CONV_2D,
        Op.DEPTHWISE_CONV_2D,
        Op.CONV_2D,
        Op.ADD,
    ]

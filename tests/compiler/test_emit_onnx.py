"""The written ONNX model, run by ONNX Runtime, against the interpreters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Activation, Op, ReduceAttrs
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.reference import quantize_input, run_int8

RunOnnx = Callable[[bytes, Array], Array]
SAME = ((1, 1), (1, 1))


def distance(graph: Graph, x: Array, run_onnx: RunOnnx) -> Array:
    """LSB between ONNX Runtime and the integer reference."""
    quant = params(graph, graph.outputs[0])
    steps = np.rint(run_onnx(emit_onnx(graph), x) / quant.scale[0]) + quant.zero_point[0]
    return np.abs(steps.astype(int) - run_int8(graph, quantize_input(graph, x)))


@pytest.mark.parametrize("seed", range(60))
def test_float_model_computes_the_graph_when_graph_is_random(
    seed: int,
    random_graph: Callable[[int], Graph],
    draw_samples: Callable[..., Array],
    run_onnx: RunOnnx,
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 4, seed)
    expected = run_float(graph, x)
    assert np.abs(run_onnx(emit_onnx(graph), x) - expected).max() <= 1e-5 * max(
        1.0, np.abs(expected).max()
    )


@pytest.mark.parametrize("graphs", [40, pytest.param(120, marks=pytest.mark.slow)])
def test_int8_models_agree_within_one_lsb_on_97_percent_when_graphs_are_random(
    graphs: int,
    random_graph: Callable[[int], Graph],
    quantized: Callable[[Graph, int], Graph],
    draw_samples: Callable[..., Array],
    run_onnx: RunOnnx,
) -> None:
    """Random weights amplify one step of a pool to several steps of the output: 97 %, not all."""
    seen: Counter[int] = Counter()
    for seed in range(100, 100 + graphs):
        graph = quantized(random_graph(seed), seed)
        seen.update(distance(graph, draw_samples(graph, 8, seed), run_onnx).ravel().tolist())
    total = seen.total()
    assert seen[0] >= 0.85 * total
    assert seen[0] + seen[1] >= 0.97 * total


LAYERS = {
    "conv2d": lambda b, rng: b.conv2d(b.input, rng.normal(0, 1, (6, 3, 3, 4)), padding=SAME),
    "depthwise_conv2d": lambda b, rng: b.depthwise_conv2d(
        b.input, rng.normal(0, 1, (1, 3, 3, 4)), activation=Activation.RELU
    ),
    "max_pool2d": lambda b, rng: b.max_pool2d(b.input, (3, 3), (2, 2), SAME),
    "average_pool2d": lambda b, rng: b.average_pool2d(b.input, (3, 3), (2, 2), SAME),
    "mean": lambda b, rng: b.mean(b.input),
    "pad": lambda b, rng: b.pad(b.input, ((1, 0), (0, 2))),
    "add": lambda b, rng: b.add(b.input, b.max_pool2d(b.input, (3, 3), (1, 1), SAME)),
}


@pytest.mark.parametrize("op", LAYERS)
def test_one_layer_stays_within_one_lsb_when_run_by_onnxruntime(
    op: str,
    quantized: Callable[[Graph, int], Graph],
    draw_samples: Callable[..., Array],
    run_onnx: RunOnnx,
) -> None:
    build = GraphBuilder(op, (1, 9, 8, 4))
    graph = quantized(build.finish(LAYERS[op](build, np.random.default_rng(5))), 1)
    x = draw_samples(graph, 64, 2)
    assert distance(graph, x, run_onnx).max() <= 1


def separable(channels: int) -> Graph:
    rng = np.random.default_rng(0)
    build = GraphBuilder("separable", (1, 8, 8, channels))
    relu = Activation.RELU
    x = build.conv2d(
        build.input, rng.normal(0, 1, (8, 3, 3, channels)), padding=SAME, activation=relu
    )
    y = build.depthwise_conv2d(x, rng.normal(0, 1, (1, 3, 3, 8)), padding=SAME, activation=relu)
    x = build.add(x, build.conv2d(y, rng.normal(0, 1, (8, 1, 1, 8))))
    return build.finish(build.fully_connected(build.mean(x), rng.normal(0, 1, (10, 8))))


@pytest.mark.parametrize("channels", [1, 3])
def test_int8_model_has_at_most_one_transpose_when_convolutional(
    channels: int, quantized: Callable[[Graph, int], Graph]
) -> None:
    model = onnx.load_from_string(emit_onnx(quantized(separable(channels), 0)))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Transpose"] == (0 if channels == 1 else 1)
    assert kinds["Relu"] == 0  # rounding saturates where the zero point is the smallest byte


def fused_kinds(graph: Graph, folder: Path) -> Counter[str]:
    """What ONNX Runtime's optimizer leaves, counted by operator."""
    import onnxruntime

    path = folder / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(emit_onnx(graph), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_onnxruntime_fuses_every_convolution_when_activations_are_uint8(
    quantized: Callable[[Graph, int], Graph], tmp_path: Path
) -> None:
    kinds = fused_kinds(quantized(separable(3), 0), tmp_path)
    assert kinds["Conv"] == 0
    assert (kinds["QLinearConv"], kinds["QLinearAdd"], kinds["QGemm"]) == (3, 1, 1)


def test_onnxruntime_fuses_the_mean_over_time_when_its_layout_is_there(
    quantized: Callable[[Graph, int], Graph], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("series", (1, 1, 20, 3))
    x = build.conv2d(build.input, rng.normal(0, 1, (6, 1, 5, 3)))
    x = build.node(Op.MEAN, (build.reshape(x, (1, 16, 6)),), ReduceAttrs((1,)))
    graph = quantized(build.finish(build.fully_connected(x, rng.normal(0, 1, (4, 6)))), 0)
    kinds = fused_kinds(graph, tmp_path)
    assert (kinds["QLinearConv"], kinds["QLinearGlobalAveragePool"], kinds["QGemm"]) == (1, 1, 1)
    assert kinds["ReduceMean"] == 0


@pytest.mark.parametrize("seed", range(12))
def test_emit_onnx_gives_the_same_bytes_when_run_twice(
    seed: int, random_graph: Callable[[int], Graph], quantized: Callable[[Graph, int], Graph]
) -> None:
    assert emit_onnx(random_graph(seed)) == emit_onnx(random_graph(seed))
    graph = random_graph(seed)
    assert emit_onnx(quantized(graph, seed)) == emit_onnx(quantized(random_graph(seed), seed))


def test_flattened_image_keeps_its_order_when_linear_layers_read_it(
    draw_samples: Callable[..., Array], run_onnx: RunOnnx
) -> None:
    rng = np.random.default_rng(0)
    build = GraphBuilder("flat", (1, 5, 4, 3))
    x = build.conv2d(build.input, rng.normal(0, 1, (6, 2, 2, 3)))
    x = build.reshape(x, (1, 72))
    graph = optimize(build.finish(build.fully_connected(x, rng.normal(0, 1, (4, 72)))))
    batch = draw_samples(graph, 7)
    np.testing.assert_allclose(
        run_onnx(emit_onnx(graph), batch), run_float(graph, batch), atol=1e-4
    )


def test_zero_pad_before_max_pool_keeps_its_zeros_when_onnxruntime_would_merge_them(
    run_onnx: RunOnnx,
) -> None:
    build = GraphBuilder("merge", (1, 4, 4, 2))
    x = build.max_pool2d(build.pad(build.input, SAME), (2, 2), (2, 2))
    graph = optimize(build.finish(build.mean(x)))
    batch = -np.ones((2, 4, 4, 2), np.float32)
    np.testing.assert_allclose(run_onnx(emit_onnx(graph), batch), run_float(graph, batch))


def test_emit_onnx_raises_when_graph_is_not_optimized() -> None:
    build = GraphBuilder("raw", (1, 4))
    with pytest.raises(EmitError, match="optimize the graph first"):
        emit_onnx(build.finish(build.batch_norm(build.input, np.ones(4), np.zeros(4))))

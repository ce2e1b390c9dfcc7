"""Quantization: the parameters follow int8.v1, and degenerate data still gives usable ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CalibrationError
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.int_kernels.common import channel_multipliers, params
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import observe, quantize
from edgekiln.compiler.reference import run_int8

RunLiteRt = Callable[..., dict[str, Array]]


def dense(weights: Array, bias: Array, activation: Activation = Activation.NONE) -> Graph:
    build = GraphBuilder("dense", (1, weights.shape[1]))
    x = build.fully_connected(build.input, weights, bias, activation=activation)
    return build.finish(build.fully_connected(x, np.ones((2, len(weights)))))


@pytest.mark.parametrize("seed", range(25))
def test_parameters_follow_the_contract_when_graph_is_random(
    seed: int, random_graph: Callable[[int], Graph], draw_samples: Callable[..., Array]
) -> None:
    graph = random_graph(seed)
    x = draw_samples(graph, 32, seed)
    int8 = quantize(graph, x)
    for name, (low, high) in observe(graph, x).items():
        quant = params(int8, name)
        scale, zero_point = quant.scale[0], quant.zero_point[0]
        assert scale == float(np.float32(scale))
        assert -128 <= zero_point <= 127
        if not any(name == node.output for node in graph.nodes):  # others may be widened
            assert scale * (-128 - zero_point) <= low + scale
            assert scale * (127 - zero_point) >= high - scale
    for value in int8.values.values():
        if value.dtype is DType.INT8 and value.data is not None:
            assert np.abs(value.data.astype(int)).max() <= 127


def test_ranges_include_zero_when_data_is_all_positive() -> None:
    graph = dense(np.eye(3), np.zeros(3))
    int8 = quantize(graph, np.full((4, 3), 5.0, np.float32))
    assert params(int8, "input").zero_point == (-128,)
    assert params(int8, "input").scale[0] == pytest.approx(5.0 / 255)


def test_ranges_do_not_depend_on_the_batches_when_calibration_is_long() -> None:
    graph = dense(np.eye(3), np.zeros(3))
    x = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    low, high = observe(graph, x)["input"]
    assert (low, high) == (float(x.min()), float(x.max()))


def test_bias_fits_when_a_channel_has_almost_no_weights() -> None:
    weights = np.array([[1e-12, 0.0], [1.0, -1.0]])
    graph = dense(weights, np.array([3.0, 0.5]))
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    int8 = quantize(graph, x)
    node = int8.nodes[0]
    bias, scales = int8.constant(node.inputs[2]), params(int8, node.inputs[2]).scale
    np.testing.assert_allclose(bias * np.array(scales), [3.0, 0.5], rtol=1e-4)


def test_dead_activations_stay_zero_in_litert_when_a_relu_never_fires(
    run_litert: RunLiteRt,
) -> None:
    graph = dense(np.ones((4, 3)), np.full(4, -100.0), Activation.RELU)
    x = np.random.default_rng(0).random((32, 3), np.float32)
    int8 = quantize(graph, x)
    batch = np.random.default_rng(1).integers(-128, 128, (50, 3)).astype(np.int8)
    for kernels in ("reference", "xnnpack"):
        actual = run_litert(emit_tflite(int8), batch, kernels)[int8.outputs[0]]
        np.testing.assert_array_equal(actual, run_int8(int8, batch))


def test_kernels_never_shift_left_when_terms_cancel(run_litert: RunLiteRt) -> None:
    build = GraphBuilder("cancel", (1, 4, 4, 2))
    kernel = np.array([1000.0, -1000.0]).reshape(1, 1, 1, 2)
    x = build.conv2d(build.input, kernel)
    graph = optimize(build.finish(build.mean(x)))
    base = np.random.default_rng(0).random((16, 4, 4, 1), np.float32)
    int8 = quantize(graph, np.concatenate([base, base + 1e-4], axis=3))
    assert all(factor.shift <= 0 for factor in channel_multipliers(int8, int8.nodes[0]))
    batch = np.random.default_rng(1).integers(-128, 128, (20, 4, 4, 2)).astype(np.int8)
    actual = run_litert(emit_tflite(int8), batch)[int8.outputs[0]]
    np.testing.assert_array_equal(actual, run_int8(int8, batch))


@pytest.mark.parametrize(
    ("calibration", "match"),
    [
        (np.zeros((0, 3), np.float32), "no calibration samples"),
        (np.zeros((4, 5), np.float32), r"shape \(5,\), the model takes \(3,\)"),
        (np.full((4, 3), np.nan, np.float32), "is not finite"),
        (np.full((4, 3), np.inf, np.float32), "is not finite"),
    ],
)
def test_quantize_raises_one_line_when_calibration_is_unusable(
    calibration: Array, match: str
) -> None:
    with pytest.raises(CalibrationError, match=match):
        quantize(dense(np.eye(3), np.zeros(3)), calibration)

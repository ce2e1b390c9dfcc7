"""The MLPerf Tiny v1 reference models written to ONNX: ONNX Runtime against our interpreters."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.encoding import decode
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.passes import end_in_logits, optimize
from edgekiln.compiler.reference import run_int8, run_int8_all

# Integer kernels that ONNX Runtime fuses each model to, beside its own transposes and reshapes.
FUSED = {
    "ad_fc": {"QGemm": 10},
    "ic_resnet8": {
        "QLinearConv": 9, "QLinearAdd": 3, "QLinearAveragePool": 1, "QGemm": 1, "QLinearSoftmax": 1,
    },
    "kws_dscnn": {"QLinearConv": 9, "QLinearAveragePool": 1, "QGemm": 1, "QLinearSoftmax": 1},
    "vww_mbv1": {"QLinearConv": 27, "QLinearAveragePool": 1, "QGemm": 1, "QLinearSoftmax": 1},
}  # fmt: skip
ENDS = {"QuantizeLinear": 1, "DequantizeLinear": 1}
# Of the logits, on samples half smooth and half noise, within one step of the reference: ONNX
# Runtime rounds once where TensorFlow Lite rounds twice, and later layers amplify a step.
WITHIN_ONE = {"ad_fc": 1.0, "ic_resnet8": 0.5, "kws_dscnn": 0.97, "vww_mbv1": 0.6}
WORST = {"ad_fc": 0, "ic_resnet8": 8, "kws_dscnn": 3, "vww_mbv1": 4}
SAMPLES = 12


def session(model: bytes, **options: Any) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def codes(graph: Graph, seed: int = 0) -> Array:
    """Half of the samples change slowly over both axes, half are noise."""
    rng = np.random.default_rng(seed)
    shape = graph.input.shape[1:]
    coarse = rng.integers(-128, 128, (SAMPLES // 2, *(-(-n // 8) for n in shape[:-1]), shape[-1]))
    for axis, size in enumerate(shape[:-1], 1):
        coarse = coarse.repeat(8, axis).take(range(size), axis)
    noise = rng.integers(-128, 128, (SAMPLES - len(coarse), *shape))
    return np.concatenate([coarse, noise]).astype(np.int8)


def answers(graph: Graph, inputs: dict[str, Array]) -> Array:
    """Codes of the first output that ONNX Runtime gives for codes of the inputs."""
    real = {}
    for name, data in inputs.items():
        quant = graph.values[name].quant
        assert quant is not None
        real[name] = decode(data, quant)
    found = np.asarray(session(emit_onnx(graph)).run(None, real)[0])
    quant = graph.output.quant
    assert quant is not None
    return np.rint(found / np.float32(quant.scale[0])).astype(np.int64) + quant.zero_point[0]


@pytest.mark.parametrize("name", FUSED)
def test_onnxruntime_runs_every_layer_in_integers_when_model_is_int8(
    mlperf_models: Path, name: str, tmp_path: Path
) -> None:
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    path = tmp_path / "optimized.onnx"
    session(emit_onnx(graph), optimized_model_filepath=str(path))
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert {kind: n for kind, n in kinds.items() if kind not in ("Transpose", "Reshape")} == {
        **FUSED[name],
        **ENDS,
    }


@pytest.mark.parametrize("name", FUSED)
def test_float_model_computes_the_same_when_written_to_onnx(mlperf_models: Path, name: str) -> None:
    graph = optimize(import_model(mlperf_models / f"{name}_float.tflite"))
    x = (codes(graph, 2)[::3].astype(np.float32) + 128.0) / 255.0
    wanted = run_float(graph, x)
    (found,) = session(emit_onnx(graph)).run(None, {graph.inputs[0]: x})
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", FUSED)
def test_logits_stay_near_the_reference_when_model_is_int8(mlperf_models: Path, name: str) -> None:
    graph = end_in_logits(import_model(mlperf_models / f"{name}_int8.tflite"))
    x = codes(graph)
    distance = np.abs(answers(graph, {graph.inputs[0]: x}) - run_int8(graph, x))
    assert (distance <= 1).mean() >= WITHIN_ONE[name]
    assert distance.max() <= WORST[name]


@pytest.mark.parametrize("name", ["ic_resnet8", "kws_dscnn"])
def test_every_layer_is_within_one_step_when_it_reads_what_the_reference_reads(
    mlperf_models: Path, name: str
) -> None:
    graph = import_model(mlperf_models / f"{name}_int8.tflite")
    x = codes(graph, 1)
    known = run_int8_all(graph, x)
    for node in graph.nodes:
        reads = tuple(dict.fromkeys(n for n in node.inputs if graph.values[n].data is None))
        layer = Graph.build("layer", graph.values.values(), [node], reads, node.outputs)
        found = answers(layer, {name: known[name] for name in reads})
        distance = np.abs(found - known[node.output])
        assert distance.max() <= 1, node.name
        assert (distance == 0).mean() >= 0.97, node.name

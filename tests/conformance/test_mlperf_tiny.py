"""The MLPerf Tiny v1 reference models: what we import is what LiteRT's reference kernels run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.importers.tflite import import_tflite
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.ops import Op
from edgekiln.compiler.oracles import run_c_host
from edgekiln.compiler.passes import end_in_logits, optimize
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import dequantize_output, quantize_input, run_int8, run_int8_all

MODELS = ("ad_fc", "ic_resnet8", "kws_dscnn", "vww_mbv1")
SAMPLES = 20

# LiteRT quantizes this one's activations while it runs: its weights are int8, the rest float32.
HYBRID = "kws_dscnn"


def plausible(graph: Graph, count: int, seed: int = 0) -> Array:
    """Half smooth samples, as images and spectra are, half noise, over the whole int8 range."""
    rng = np.random.default_rng(seed)
    shape = graph.input.shape[1:]
    coarse = rng.integers(-128, 128, (count // 2, *(-(-n // 8) for n in shape[:-1]), shape[-1]))
    for axis, size in enumerate(shape[:-1], 1):
        coarse = coarse.repeat(8, axis).take(range(size), axis)
    noise = rng.integers(-128, 128, (count - len(coarse), *shape))
    return np.concatenate([coarse, noise]).astype(np.int8)


def litert_tensors(model: bytes, batch: Array) -> dict[str, Array]:
    """Every tensor of the reference kernels by name, sample after sample."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    details = [d for d in interpreter.get_tensor_details() if d["name"]]
    rows: list[dict[str, Array]] = []
    for sample in batch:
        interpreter.set_tensor(entry, sample[None])
        interpreter.invoke()
        rows.append({d["name"]: interpreter.get_tensor(d["index"]) for d in details})
    return {
        name: np.concatenate([row[name] for row in rows]) for name in rows[0] if rows[0][name].ndim
    }


def litert_output(model: bytes, batch: Array) -> Array:
    """The outputs of the reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    entry = interpreter.get_input_details()[0]["index"]
    output = interpreter.get_output_details()[0]["index"]
    answers = []
    for sample in batch:
        interpreter.set_tensor(entry, sample[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(output))
    return np.concatenate(answers)


def assert_same(first: Graph, second: Graph) -> None:
    """Two graphs are one: nodes, values, quantization and constants."""
    assert first.nodes == second.nodes
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    assert set(first.values) == set(second.values)
    for name, value in first.values.items():
        other = second.values[name]
        assert (value.shape, value.dtype, value.quant) == (other.shape, other.dtype, other.quant)
        if value.data is None:
            assert other.data is None
        else:
            np.testing.assert_array_equal(value.data, other.data)


@pytest.mark.parametrize("name", MODELS)
def test_int8_equals_litert_at_every_layer_when_model_is_imported(
    mlperf_models: Path, name: str
) -> None:
    path = mlperf_models / f"{name}_int8.tflite"
    graph = import_model(path)
    batch = plausible(graph, SAMPLES)
    ours = run_int8_all(graph, batch)
    theirs = litert_tensors(path.read_bytes(), batch)
    assert len(ours) == len(graph.nodes) + 1
    for value, found in ours.items():
        np.testing.assert_array_equal(found, theirs[value], err_msg=value)


@pytest.mark.parametrize("name", MODELS)
def test_emitted_again_gives_identical_outputs_when_model_is_int8(
    mlperf_models: Path, name: str
) -> None:
    path = mlperf_models / f"{name}_int8.tflite"
    graph = import_model(path)
    batch = plausible(graph, SAMPLES, seed=1)
    emitted = emit_tflite(graph)
    np.testing.assert_array_equal(
        litert_output(emitted, batch), litert_output(path.read_bytes(), batch)
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_generated_c_equals_litert_when_model_is_int8(
    mlperf_models: Path, require_tool: Callable[[str], str], name: str
) -> None:
    require_tool("gcc")
    path = mlperf_models / f"{name}_int8.tflite"
    graph = import_model(path)
    batch = plausible(graph, 6, seed=3)
    expected = litert_output(path.read_bytes(), batch)
    np.testing.assert_array_equal(run_c_host(emit_c(graph, batch).files, expected), expected)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["int8", "float"])
def test_import_gives_the_same_graph_when_it_was_emitted(
    mlperf_models: Path, name: str, kind: str
) -> None:
    graph = import_model(mlperf_models / f"{name}_{kind}.tflite")
    emitted = emit_tflite(graph)
    again = import_tflite(emitted, graph.name)
    assert_same(graph, again)
    assert emit_tflite(again) == emitted


@pytest.mark.parametrize("name", MODELS)
def test_every_value_keeps_its_own_quantization_when_model_is_int8(
    mlperf_models: Path, name: str
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = mlperf_models / f"{name}_int8.tflite"
    graph = import_model(path)
    details = {d["name"]: d for d in Interpreter(model_path=str(path)).get_tensor_details()}
    for value in graph.values.values():
        theirs = details[value.name]["quantization_parameters"]
        assert value.quant is not None
        np.testing.assert_array_equal(np.float32(value.quant.scale), theirs["scales"])
        np.testing.assert_array_equal(value.quant.zero_point, theirs["zero_points"])


@pytest.mark.parametrize("name", MODELS)
def test_float_equals_litert_when_model_is_imported(mlperf_models: Path, name: str) -> None:
    path = mlperf_models / f"{name}_float.tflite"
    graph = import_model(path)
    x = _real_samples(graph, 8)
    model = emit_tflite(graph) if name == HYBRID else path.read_bytes()
    _assert_close(run_float(graph, x), litert_output(model, x), 1e-4)


def test_float_is_near_litert_when_it_quantizes_activations_itself(mlperf_models: Path) -> None:
    path = mlperf_models / f"{HYBRID}_float.tflite"
    graph = import_model(path)
    x = _real_samples(graph, 8)
    _assert_close(run_float(graph, x), litert_output(path.read_bytes(), x), 0.05)


@pytest.mark.parametrize("name", MODELS)
def test_quantize_keeps_the_answer_when_float_model_is_imported(
    mlperf_models: Path, name: str
) -> None:
    graph = optimize(import_model(mlperf_models / f"{name}_float.tflite"))
    x = _real_samples(graph, 24)
    quantized = quantize(graph, x)
    assert quantized.input.dtype is DType.INT8
    xq = quantize_input(quantized, x)
    answers = run_int8(quantized, xq)
    wanted = run_float(graph, x)
    error = np.abs(dequantize_output(quantized, answers) - wanted).max() / np.abs(wanted).max()
    assert error < 0.25
    np.testing.assert_array_equal(answers[:4], litert_output(emit_tflite(quantized), xq[:4]))
    ends_in_shares = quantized.nodes[-1].op is Op.SOFTMAX
    assert ends_in_shares == (name != "ad_fc")


def _real_samples(graph: Graph, count: int) -> Array:
    """Samples of a plausible range: the same picture in real numbers between 0 and 1."""
    return ((plausible(graph, count, seed=2).astype(np.float32)) + 128.0) / 255.0


def _assert_close(found: Array, wanted: Array, tolerance: float) -> None:
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_end_in_logits_takes_the_last_softmax_off_when_there_is_one(
    mlperf_models: Path, kind: str
) -> None:
    graph = import_model(mlperf_models / f"ic_resnet8_{kind}.tflite")
    shorter = end_in_logits(graph)
    check(shorter)
    assert shorter.nodes == graph.nodes[:-1]
    assert shorter.output.name == graph.nodes[-1].inputs[0]
    assert end_in_logits(shorter) == shorter

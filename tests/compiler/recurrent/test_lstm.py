"""LSTM of int8: our kernels, the files we write, LiteRT, TensorFlow Lite Micro and C agree."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekiln.compiler
from edgekiln.compiler.bounds import layer_bound_of
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import (
    EmitError,
    GrammarError,
    ImportModelError,
    UnsupportedOpError,
)
from edgekiln.compiler.grammar import check
from edgekiln.compiler.grammar_recurrent import check_mixed
from edgekiln.compiler.graph import DType, Graph, Node
from edgekiln.compiler.importers.tflite import import_tflite, read_model
from edgekiln.compiler.inspect import describe
from edgekiln.compiler.int_kernels.gates import sigmoid, tanh
from edgekiln.compiler.mcu import run_tflm_codes
from edgekiln.compiler.numerics import output_scale
from edgekiln.compiler.ops import NoAttrs, Op
from edgekiln.compiler.oracles import (
    Engine,
    litert_tensors,
    run_c_emulated,
    run_c_host,
    run_litert_reference,
    run_runtime,
)
from edgekiln.compiler.plan import plan_arena
from edgekiln.compiler.reference import run_int8, run_int8_all
from edgekiln.compiler.workload import workload
from edgekiln.targets.profiles import load_target

Make = Callable[..., bytes]
ALL_INT16 = np.arange(-32768, 32768)
# steps, features, units, bits of the cell, clip
SIZES = ((6, 5, 4, -12, 0.0), (1, 3, 7, -15, 0.0), (9, 2, 3, -9, 2.0), (12, 8, 8, -11, 0.3))


def drawn(graph: Graph, seed: int, count: int) -> Any:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (count, *graph.input.shape[1:])).astype(np.int8)


def real(graph: Graph, codes: Any) -> Any:
    """What quantizes to these codes."""
    quant = graph.input.quant
    assert quant is not None
    return ((codes.astype(np.float64) - quant.zero_point[0]) * quant.scale[0]).astype(np.float32)


def sized(int8_lstm: Make, seed: int) -> bytes:
    steps, features, units, bits, clip = SIZES[seed]
    return int8_lstm(seed, steps, features, units, cell_bits=bits, clip=clip)


@pytest.mark.parametrize("seed", range(len(SIZES)))
def test_lstm_equals_litert_byte_for_byte_when_samples_begin_with_nothing(
    int8_lstm: Make, seed: int
) -> None:
    model = sized(int8_lstm, seed)
    graph = import_tflite(model, "lstm")
    codes = drawn(graph, seed, 24)
    ours = run_int8(graph, codes)
    assert len(np.unique(ours)) > 16
    flat, x = ours.reshape(24, -1), real(graph, codes)
    np.testing.assert_array_equal(flat, run_litert_reference(model, x))
    written = emit_tflite(graph)
    np.testing.assert_array_equal(flat, run_litert_reference(written, x))
    np.testing.assert_array_equal(ours, run_int8(import_tflite(written, "lstm"), codes))
    found = run_runtime("tflite", written, x, output_scale(graph, flat))
    np.testing.assert_array_equal(flat, found)
    layers = litert_tensors(written, x, [graph.outputs[0]])
    np.testing.assert_array_equal(ours, layers[graph.outputs[0]])


@pytest.mark.parametrize("bits", range(-15, -8))
def test_gates_equal_litert_when_they_read_every_part_of_their_range(
    int8_lstm: Make, bits: int
) -> None:
    model = int8_lstm(bits + 20, 4, 1, 400, cell_bits=bits, swept=True)
    graph = import_tflite(model, "lstm")
    codes = drawn(graph, 1, 3)
    expected = run_litert_reference(model, real(graph, codes))
    np.testing.assert_array_equal(run_int8(graph, codes).reshape(3, -1), expected)


def test_lstm_equals_litert_when_its_output_gate_rounds_otherwise(int8_lstm: Make) -> None:
    model = int8_lstm(11, 5, 3, 4, shown=(0.004, 17))
    graph = import_tflite(model, "lstm")
    codes = drawn(graph, 1, 6)
    ours, x = run_int8(graph, codes).reshape(6, -1), real(graph, codes)
    np.testing.assert_array_equal(ours, run_litert_reference(model, x))
    np.testing.assert_array_equal(ours, run_litert_reference(emit_tflite(graph), x))


def test_fixed_point_gates_are_sigmoid_and_tanh_when_rounding_is_forgiven() -> None:
    exact = 1 / (1 + np.exp(-ALL_INT16 / 4096))
    assert np.abs(sigmoid(ALL_INT16) / 32768 - exact).max() < 7 / 32768
    for bits in range(7):
        curve = np.tanh(ALL_INT16 / 2.0 ** (15 - bits))
        assert np.abs(tanh(ALL_INT16, bits) / 32768 - curve).max() < 13 / 32768


def test_sample_gives_the_same_when_others_come_before_it(int8_lstm: Make) -> None:
    graph = import_tflite(sized(int8_lstm, 0), "lstm")
    codes = drawn(graph, 3, 5)
    np.testing.assert_array_equal(run_int8(graph, codes)[3:], run_int8(graph, codes[3:]))


def test_micro_is_within_its_bound_when_it_reads_tables(int8_lstm: Make) -> None:
    pytest.importorskip("tflite_micro")
    for seed in range(len(SIZES)):
        graph = import_tflite(sized(int8_lstm, seed), "lstm")
        codes = drawn(graph, seed, 16)
        found = run_tflm_codes(emit_tflite(graph), [codes]).astype(np.int32)
        distance = np.abs(found - run_int8(graph, codes))
        bound = layer_bound_of(Engine.TFLM, graph.nodes[0].op, np.dtype(np.int8))
        beyond = int(np.count_nonzero(distance > 1))
        assert bound.holds(int(distance.max()), beyond, distance.size)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(len(SIZES)))
def test_c_equals_the_reference_when_sequences_follow_one_another(
    int8_lstm: Make, require_tool: Callable[[str], str], seed: int
) -> None:
    require_tool("gcc")
    graph = import_tflite(sized(int8_lstm, seed), "lstm")
    codes = drawn(graph, seed, 24)
    expected = run_int8(graph, codes).reshape(24, -1)
    np.testing.assert_array_equal(run_c_host(emit_c(graph, codes).files, expected), expected)


@pytest.mark.slow
def test_c_equals_the_reference_on_an_emulated_core(
    int8_lstm: Make, require_tool: Callable[[str], str]
) -> None:
    require_tool("qemu-system-arm")
    require_tool("arm-none-eabi-gcc")
    graph = import_tflite(sized(int8_lstm, 0), "lstm")
    codes = drawn(graph, 0, 6)
    emulation = run_c_emulated(emit_c(graph, codes).files, load_target("cortex-m4"))
    found = np.frombuffer(emulation.outputs, np.int8).reshape(6, -1)
    np.testing.assert_array_equal(found, run_int8(graph, codes).reshape(6, -1))


GATES_MAIN = """
#include <stdio.h>
#include "ek_fixed16.h"
int main(void) {
    for (int32_t x = -32768; x < 32768; x++) {
        printf("%d", (int)ek_sigmoid16(x));
        for (int32_t bits = 0; bits < 7; bits++) {
            printf(" %d", (int)ek_tanh16(x, bits));
        }
        printf("\\n");
    }
    return 0;
}
"""


@pytest.mark.slow
def test_gates_in_c_equal_the_reference_for_every_number(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    cc = require_tool("gcc")
    (tmp_path / "main.c").write_text(GATES_MAIN)
    kernels = Path(edgekiln.compiler.__file__).parent / "c" / "common"
    flags = ("-std=c99", "-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all")
    program = str(tmp_path / "gates")
    subprocess.run(
        (cc, *flags, f"-I{kernels}", str(tmp_path / "main.c"), "-o", program), check=True
    )
    printed = subprocess.run((program,), check=True, capture_output=True, text=True).stdout
    found = np.array(printed.split(), np.int64).reshape(-1, 8)
    curves = [sigmoid(ALL_INT16), *(tanh(ALL_INT16, bits) for bits in range(7))]
    np.testing.assert_array_equal(found, np.stack(curves, axis=1))


def test_workload_counts_every_step_when_weights_are_shared(int8_lstm: Make) -> None:
    graph = import_tflite(sized(int8_lstm, 0), "lstm")
    assert workload(graph).layers[0].macs == 6 * (4 * 4 * 5 + 4 * 4 * 4)


def test_inspect_counts_what_the_workload_does(
    int8_lstm: Make, int8_svdf: Make, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    for model, kept in ((sized(int8_lstm, 0), 4 + 8), (int8_svdf(0, 4, 3, 2, 5), 60)):
        path.write_bytes(model)
        graph = import_tflite(model, "m")
        found = describe(path)
        assert found.macs == workload(graph).macs
        assert found.ram_bytes == plan_arena(graph).arena_bytes + kept


def test_every_value_is_recorded_when_a_layer_is_looked_into(int8_lstm: Make) -> None:
    graph = import_tflite(sized(int8_lstm, 0), "lstm")
    codes = drawn(graph, 0, 2)
    assert set(run_int8_all(graph, codes)) == {graph.inputs[0], graph.outputs[0]}


def test_onnx_is_refused_in_one_line_when_an_lstm_is_int8(int8_lstm: Make) -> None:
    with pytest.raises(EmitError, match=r"ONNX has no int8 'lstm'"):
        emit_onnx(import_tflite(sized(int8_lstm, 0), "lstm"))


@pytest.mark.parametrize(("steps", "said"), [(1, 1), (2, 0)])
def test_import_says_what_a_sample_is_when_an_lstm_takes_one_step(
    int8_lstm: Make, steps: int, said: int
) -> None:
    notes = read_model(int8_lstm(0, steps, 3, 4), "lstm").notes
    assert [("takes one step at a time" in note) for note in notes] == [True] * said


def test_check_refuses_an_lstm_that_frames_go_through(int8_lstm: Make, int8_svdf: Make) -> None:
    lstm = import_tflite(int8_lstm(0, 1, 4, 3), "lstm")
    svdf = import_tflite(int8_svdf(0, 6, 4, 1, 2), "svdf")
    x, y = lstm.input, svdf.output
    inside = dataclasses.replace(y, name="steps", shape=x.shape)
    renamed = {name: f"lstm.{name}" for name in lstm.values} | {lstm.inputs[0]: "steps"}
    values = [
        *svdf.values.values(),
        *(dataclasses.replace(v, name=renamed[v.name]) for v in lstm.values.values()),
        inside,
    ]
    node = lstm.nodes[0]
    nodes = (
        *svdf.nodes,
        Node(Op.RESHAPE, "steps", (y.name,), ("steps",), NoAttrs()),
        dataclasses.replace(
            node,
            inputs=tuple(renamed[name] for name in node.inputs),
            outputs=(renamed[node.output],),
        ),
    )
    both = Graph.build("both", values, nodes, svdf.inputs, (renamed[node.output],))
    with pytest.raises(GrammarError, match="begins anew where the frames of a stream go on"):
        check_mixed(both)


def test_check_refuses_an_lstm_of_floats(int8_lstm: Make) -> None:
    graph = import_tflite(int8_lstm(0, 2, 4, 3), "lstm")
    floats = [
        dataclasses.replace(
            value,
            dtype=DType.FLOAT32,
            quant=None,
            data=None if value.data is None else value.data.astype(np.float32),
        )
        for value in graph.values.values()
    ]
    with pytest.raises(GrammarError, match="has no float32 form; unroll it"):
        check(graph.replace(values=floats))


def _edited(model: bytes, edit: Callable[[Any, Any], None]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(model)
    inside = tree.subgraphs[0]
    operator = inside.operators[0]
    operator.inputs, operator.intermediates = list(operator.inputs), list(operator.intermediates)
    edit(inside, operator)
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _operand(position: int, index: int) -> Callable[[Any, Any], None]:
    def edit(inside: Any, operator: Any) -> None:
        operator.inputs[position] = index

    return edit


def _scale(position: int, scale: float) -> Callable[[Any, Any], None]:
    def edit(inside: Any, operator: Any) -> None:
        inside.tensors[operator.inputs[position]].quantization.scale = [scale]

    return edit


def _option(name: str, value: Any) -> Callable[[Any, Any], None]:
    def edit(inside: Any, operator: Any) -> None:
        setattr(operator.builtinOptions, name, value)

    return edit


def _no_intermediates(inside: Any, operator: Any) -> None:
    for index in operator.intermediates[3:]:  # nobody's now, they may not be empty
        inside.tensors[index].shape = [1]
    operator.intermediates = operator.intermediates[:3]


def _no_encoding(inside: Any, operator: Any) -> None:
    inside.tensors[operator.intermediates[4]].quantization = None


def _full_intermediate(inside: Any, operator: Any) -> None:
    operator.inputs[18] = operator.intermediates[4]


REFUSED: dict[str, tuple[Callable[[Any, Any], None], type[Exception], str]] = {
    "peepholes": (_operand(9, 13), UnsupportedOpError, "in int8 it looks at its cell through"),
    "projection": (_operand(16, 5), UnsupportedOpError, "in int8 it projects"),
    "norms": (_operand(20, 13), UnsupportedOpError, "it normalizes its gates"),
    "coupled": (_operand(1, -1), UnsupportedOpError, "its input gate is coupled"),
    "missing": (_operand(3, -1), ImportModelError, "has no operand 3"),
    "computed": (_operand(6, 0), UnsupportedOpError, "is computed"),
    "activation": (_option("fusedActivationFunction", 1), UnsupportedOpError, "code 1, not tanh"),
    "time_first": (_option("timeMajor", True), UnsupportedOpError, r"\(1, steps, features\)"),
    "clip": (_option("cellClip", float("nan")), ImportModelError, "its cell is clipped to nan"),
    "intermediates": (_no_intermediates, ImportModelError, "has 3 intermediates, not 5"),
    "shown": (_no_encoding, ImportModelError, "intermediate 't.*' without one scale"),
    "empty_state": (_full_intermediate, ImportModelError, r"has shape \(0,\)"),
    "state": (_scale(18, 0.5), UnsupportedOpError, "differ in scale"),
    "cell": (_scale(19, 0.001), ImportModelError, "not a power of two"),
    "wide_cell": (_scale(19, 0.5), ImportModelError, "not a power of two from"),
    "weights": (_scale(5, 1e9), ImportModelError, "its scales are too far apart"),
    "bias": (_scale(13, 0.7), ImportModelError, "does not have the scale of what it is added to"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_file_is_refused_in_one_line_when_its_lstm_has_another_form(
    int8_lstm: Make, what: str
) -> None:
    edit, error, said = REFUSED[what]
    with pytest.raises(error, match=said) as caught:
        import_tflite(_edited(sized(int8_lstm, 0), edit), "lstm")
    assert "\n" not in str(caught.value)

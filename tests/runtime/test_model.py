"""Models and engines on real artifacts: the same answers from every engine and every thread."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_onnx import emit_onnx
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8
from edgekiln.runtime.bundle import Bundle, write_bundle
from edgekiln.runtime.contract import Affine, Contract, TensorSpec
from edgekiln.runtime.engines import ENGINES, OutputScale, open_engine
from edgekiln.runtime.errors import ContractError, EngineError, MemberError
from edgekiln.runtime.files import stored_zip
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.lanes import Lanes
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.model import Model
from edgekiln.runtime.onnx_engine import OnnxLane
from edgekiln.runtime.options import EngineOptions
from edgekiln.runtime.quant import End, FloatArray, Logits, dequantize_array, softmax
from edgekiln.runtime.reference import build_reference

CONTRACT = Contract(
    TensorSpec("image", (6, 6, 1), minimum=0, maximum=16),
    ("zero", "one", "two"),
    (Affine(2.0, 1 / 16),),
)
RAW = np.random.default_rng(0).uniform(0, 16, (40, 6, 6, 1)).astype(np.float32)
X = CONTRACT.preprocess(RAW)


def _float_graph() -> Graph:
    rng = np.random.default_rng(1)
    net = GraphBuilder("tiny", (1, 6, 6, 1))
    weights = rng.normal(size=(4, 3, 3, 1)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    hidden = net.conv2d(net.input, weights, bias, activation=Activation.RELU)
    dense = rng.normal(size=(3, 4)).astype(np.float32)
    logits = net.fully_connected(net.mean(hidden), dense, np.zeros(3, np.float32))
    return optimize(net.finish(logits))


FLOAT = _float_graph()
INT8 = quantize(FLOAT, X)
EXPECTED = run_int8(INT8, quantize_input(INT8, X))
QUANT = params(INT8, INT8.outputs[0])
OUTPUT = OutputScale(QUANT.scale[0], QUANT.zero_point[0])
FILES = {
    "host/model.tflite": emit_tflite(INT8),
    "onnx-host/model.onnx": emit_onnx(INT8),
    "float-host/model.tflite": emit_tflite(FLOAT),
    "float-onnx-host/model.onnx": emit_onnx(FLOAT),
    "board/c/model.c": b"int x;",
}


def _artifact(name: str, data: bytes) -> Artifact:
    target, _, file = name.partition("/")
    estimate = EstimateRecord(1.0, 1.0, 1.0, "ms", "T3", "test")
    form = "c" if target == "board" else file.rpartition(".")[2]
    numerics = "float32" if target.startswith("float") else "int8.v1"
    return Artifact(
        target,
        form,
        f"artifacts/{name}",
        len(data),
        hashlib.sha256(data).hexdigest(),
        numerics,
        1.0,
        estimate,
        estimate,
        estimate,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    probabilities = softmax(dequantize_array(EXPECTED, OUTPUT.scale, OUTPUT.zero_point))
    reference = build_reference(CONTRACT, RAW, probabilities.max(1), EXPECTED.argmax(1))
    members = {f"artifacts/{name}": data for name, data in FILES.items()} | {
        "contract.json": msgspec.json.encode(CONTRACT),
        "golden.npz": pack_golden(Golden(RAW, EXPECTED, OUTPUT.scale, OUTPUT.zero_point)),
        "reference.bin": reference.to_bytes(),
    }
    artifacts = tuple(_artifact(name, data) for name, data in FILES.items())
    draft = Manifest("tiny", (), artifacts, 1.0, 1.0, Gate(True, ()), Lineage("0"), {}, {})
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.ekb", draft, members)


@pytest.mark.parametrize(
    ("target", "max_lsb"),
    [("host", 1), ("onnx-host", 1), ("float-host", 20), ("float-onnx-host", 20)],
)
def test_run_golden_is_near_when_any_engine_runs_it(
    bundle: Bundle, target: str, max_lsb: int
) -> None:
    result = Model.open(bundle, target).run_golden()
    assert result.vectors == 40
    assert result.max_lsb <= max_lsb


class Recording:
    """An engine of a model that remembers: it gives the next expected rows until it is reset.

    It is its own only lane.
    """

    def __init__(self) -> None:
        self.frame = 0
        self.outputs = 3
        self.input = End(36, np.int8, 1.0, 0)
        self.lanes = Lanes([RecordingLane(self)])

    def run(self, x: FloatArray) -> Logits:
        first, self.frame = self.frame, self.frame + len(x)
        return EXPECTED[first : self.frame]

    def reset(self) -> None:
        self.frame = 0


class RecordingLane:
    def __init__(self, engine: Recording) -> None:
        self.input = np.zeros(36, np.int8)
        self._engine = engine

    def run(self) -> Logits:
        return self._engine.run(self.input[None])[0]

    def forget(self) -> None:
        self._engine.reset()


def test_golden_vectors_are_a_recording_of_their_own_when_a_model_remembers(
    bundle: Bundle,
) -> None:
    engine = Recording()
    model = Model(bundle, bundle.artifact("host"), engine)
    first = model.predict(RAW[:5])
    np.testing.assert_array_equal(first.indices, EXPECTED[:5].argmax(axis=1))
    np.testing.assert_array_equal(model.predict(RAW[5:7]).indices, EXPECTED[5:7].argmax(axis=1))
    assert model.run_golden().max_lsb == 0
    assert engine.frame == 0
    model.predict(RAW[:3])
    model.reset()
    assert engine.frame == 0


def test_predict_gives_labels_and_softmax_of_the_dequantized_logits(bundle: Bundle) -> None:
    found = Model.open(bundle).predict(RAW)
    wanted = softmax(dequantize_array(EXPECTED, OUTPUT.scale, OUTPUT.zero_point))
    np.testing.assert_allclose(found.probabilities, wanted, atol=2 * OUTPUT.scale)
    np.testing.assert_array_equal(found.confidences, found.probabilities.max(axis=1))
    assert found.labels == tuple(CONTRACT.classes[index] for index in found.indices)
    assert found.bundle_id == bundle.bundle_id
    assert found.latency_us > 0


def test_predict_takes_one_sample_a_batch_and_whole_numbers(bundle: Bundle) -> None:
    model = Model.open(bundle)
    assert model.predict(RAW[0]).labels == model.predict(RAW).labels[:1]
    assert model.predict(RAW[:0]).labels == ()
    whole = RAW.round()
    assert model.predict(whole.astype(np.uint8)).labels == model.predict(whole).labels
    assert model.predict(whole.tolist()).labels == model.predict(whole).labels


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (RAW[..., 0], "shape"),
        (RAW + 1, r"input 'image'\[\d,\d,0\] of sample \d+ is .*the contract's maximum is 16"),
        (RAW[0] - 20, r"input 'image'\[\d,\d,0\] is -.*the contract's minimum is 0"),
        (np.full((1, 6, 6, 1), np.nan), r"'image'\[0,0,0\] is not finite"),
        (np.full((6, 6, 1), 1e300), "not finite"),
        (np.full((1, 6, 6, 1), "x"), "dtype"),
        (np.full((6, 6, 1), True), "dtype bool"),
        (np.full((6, 6, 1), 1j), "dtype complex128"),
        ([[1.0], [2.0]], "shape"),
        ([[1.0], [2.0, 3.0]], "input 'image' is no array"),
        (None, "shape"),
        (3.0, "shape"),
        (np.array([{}]), "shape"),
    ],
)
def test_predict_refuses_when_samples_break_the_contract(
    bundle: Bundle, raw: npt.ArrayLike, says: str
) -> None:
    with pytest.raises(ContractError, match=says):
        Model.open(bundle).predict(raw)


def test_predict_batch_answers_every_sample_and_wants_the_batch_axis(bundle: Bundle) -> None:
    model = Model.open(bundle)
    found = model.predict_batch(RAW)
    alone = [model.predict(sample) for sample in RAW]
    assert [answer.label for answer in alone] == list(found.labels)
    np.testing.assert_array_equal([answer.confidence for answer in alone], found.confidences)
    assert (len(found), len(model.predict_batch(RAW[:0])), len(alone[0])) == (40, 0, 1)
    with pytest.raises(ContractError, match="shape"):
        model.predict_batch(RAW[0])


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("target", ["host", "onnx-host"])
def test_predict_gives_every_thread_its_own_answer(
    bundle: Bundle, target: str, parallel: int
) -> None:
    """More threads than lanes, batches and samples, and callers whose samples are refused."""
    model = Model.open(bundle, target, options=EngineOptions(parallel=parallel))
    alone = model.predict(RAW).probabilities
    start = threading.Barrier(6)

    def call(thread: int) -> int:
        start.wait()
        wrong = 0
        for turn in range(100):
            place = (thread * 7 + turn) % 40
            wrong += int(
                not np.array_equal(model.predict(RAW[place]).probabilities[0], alone[place])
            )
            if turn % 10 == thread:
                wrong += int(not np.array_equal(model.predict_batch(RAW).probabilities, alone))
                with pytest.raises(ContractError):
                    model.predict(RAW[place] + 20)
        return wrong

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(call, range(6))) == [0] * 6


def test_a_lane_is_given_back_when_a_sample_is_refused_or_an_engine_fails(bundle: Bundle) -> None:
    model = Model.open(bundle)
    lane = model._engine.lanes.all[0]
    for _ in range(3):
        with pytest.raises(ContractError):
            model.predict(RAW[0] + 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lane, "_invoke", lambda: (_ for _ in ()).throw(RuntimeError("burnt\nout")))
        for _ in range(3):
            with pytest.raises(EngineError, match="LiteRT failed: burnt out"):
                model.predict(RAW[0])
    assert model.predict(RAW[0]).label == model.predict(RAW).label


@pytest.mark.parametrize("target", ["host", "float-host", "onnx-host", "float-onnx-host"])
def test_answers_keep_their_values_when_the_engine_goes_on(bundle: Bundle, target: str) -> None:
    """What a lane returns is the caller's own, not the interpreter's memory."""
    model = Model.open(bundle, target)
    first = model.predict(RAW[0])
    wanted = model.predict_batch(RAW[:1]).probabilities
    for sample in RAW:
        model.predict(sample)
    np.testing.assert_array_equal(first.probabilities, wanted)


@pytest.mark.parametrize(
    "options", [EngineOptions(xnnpack=False), EngineOptions(threads=2), EngineOptions(parallel=2)]
)
def test_answers_stay_near_the_reference_when_options_change(
    bundle: Bundle, options: EngineOptions
) -> None:
    assert Model.open(bundle, options=options).run_golden().max_lsb <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_onnx_lane_refuses_a_logit_that_is_not_finite(value: float) -> None:
    logits = np.array([[0.0, value, 1.0]], np.float32)
    entry = SimpleNamespace(name="x")
    session = SimpleNamespace(get_inputs=lambda: [entry], run=lambda outputs, feed: [logits])
    with pytest.raises(EngineError, match="a logit that is not finite"):
        OnnxLane(session, (4,), OUTPUT).run()


def test_options_reach_the_engine(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def operators(options: EngineOptions) -> set[str]:
        lane = Model.open(bundle, options=options)._engine.lanes.all[0]
        return {detail["op_name"] for detail in lane._interpreter._get_ops_details()}

    assert "DELEGATE" in operators(EngineOptions())
    assert "DELEGATE" not in operators(EngineOptions(xnnpack=False))
    three = Model.open(bundle, "onnx-host", options=EngineOptions(threads=3, parallel=4))
    assert len(three._engine.lanes.all) == 4
    session = three._engine.lanes.all[0]._session
    assert session.get_session_options().intra_op_num_threads == 3
    asked: list[object] = []
    from ai_edge_litert import interpreter

    class Asked(interpreter.Interpreter):
        def __init__(self, **how: object) -> None:
            asked.append(how["num_threads"])
            super().__init__(**how)

    monkeypatch.setattr(interpreter, "Interpreter", Asked)
    assert len(Model.open(bundle, options=EngineOptions(2, 3))._engine.lanes.all) == 3
    assert asked == [2, 2, 2]


def test_options_are_refused_when_no_engine_takes_them(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="'threads' is 0, not 1 to 64"):
        Model.open(bundle, options=EngineOptions(threads=0))


def test_open_says_why_it_took_what_it_took(bundle: Bundle) -> None:
    model = Model.open(bundle)
    assert (model.artifact.target, model.artifact.format) == ("host", "tflite")
    assert model.why.startswith("litert (int8.v1, for host)")
    assert "onnxruntime (int8.v1, for onnx-host)" in model.why
    assert Model.open(bundle, engine="onnxruntime").artifact.numerics == "int8.v1"


def test_open_says_one_line_when_the_task_is_not_classification(bundle: Bundle) -> None:
    other = msgspec.structs.replace(CONTRACT, task="anomaly")
    members = {**bundle.members, "contract.json": msgspec.json.encode(other)}
    with pytest.raises(ContractError, match="the contract is for anomaly; this runtime") as caught:
        Model.open(dataclasses.replace(bundle, members=members))
    assert "\n" not in str(caught.value)


def test_open_names_the_target_and_the_way_out_when_nothing_runs_here(bundle: Bundle) -> None:
    with pytest.raises(MemberError, match="nothing for target 'npu'"):
        Model.open(bundle, "npu")
    with pytest.raises(
        EngineError, match=r"no engine runs format 'elf'; this host runs c, onnx, t"
    ):
        open_engine("elf", b"", OUTPUT)


@pytest.mark.parametrize("form", sorted(ENGINES))
@pytest.mark.parametrize("data", [b"", b"garbage" * 100])
def test_open_engine_says_one_line_when_the_artifact_is_damaged(form: str, data: bytes) -> None:
    with pytest.raises(EngineError, match="refuses the artifact") as caught:
        open_engine(form, data, OUTPUT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["host/model.tflite", "onnx-host/model.onnx"])
def test_run_refuses_when_samples_do_not_fill_the_input(name: str) -> None:
    engine = open_engine(name.rpartition(".")[2], FILES[name], OUTPUT)
    with pytest.raises(EngineError, match="do not fill"):
        engine.run(np.zeros((1, 5), np.float32))


def test_open_engine_refuses_when_the_output_scale_is_not_the_bundles() -> None:
    with pytest.raises(EngineError, match="output scale differs"):
        open_engine("tflite", FILES["host/model.tflite"], OutputScale(1.0, 0))


def test_run_golden_refuses_when_classes_and_outputs_differ(bundle: Bundle) -> None:
    model = Model.open(bundle)
    model.contract = msgspec.structs.replace(CONTRACT, classes=("a", "b"))
    with pytest.raises(EngineError, match="3 outputs for 2 classes"):
        model.run_golden()
    narrow = {**bundle.members, "contract.json": msgspec.json.encode(model.contract)}
    with pytest.raises(EngineError, match="3 outputs for 2 classes"):
        Model.open(dataclasses.replace(bundle, members=narrow))


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )


def test_litert_says_nothing_on_stderr_and_other_lines_survive(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(FILES["host/model.tflite"])
    done = _python(
        "import pathlib, sys\n"
        "from edgekiln.runtime.engines import OutputScale, open_engine\n"
        f"data = pathlib.Path({str(path)!r}).read_bytes()\n"
        f"open_engine('tflite', data, OutputScale({OUTPUT.scale!r}, {OUTPUT.zero_point}))\n"
        "print('after', file=sys.stderr)\n"
    )
    assert done.stderr == "after\n"


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    done = _python(
        "import sys, edgekiln.runtime as runtime\n"
        "assert 'numpy' not in sys.modules\n"
        "names = [getattr(runtime, name).__name__ for name in runtime.__all__]\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'sklearn', 'sqlalchemy', 'scipy',\n"
        "         'ai_edge_litert', 'tensorflow', 'litestar', 'tuf', 'paho'}\n"
        "print(sorted(heavy & set(sys.modules)), names == sorted(runtime.__all__))\n"
    )
    assert done.stdout == "[] True\n"


def test_example_of_the_page_on_inference_runs_as_it_stands(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "inference.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "digits.ekb").write_bytes(stored_zip(bundle.members))
    monkeypatch.chdir(tmp_path)
    exec(example, {"sensor": lambda: [RAW[0], RAW[1] + 20, RAW[2]]})
    why, first, refused, second = capsys.readouterr().out.splitlines()
    assert why.startswith("litert")
    assert "the contract's maximum is 16" in refused
    assert {first.split()[0], second.split()[0]} <= set(CONTRACT.classes)
    (report,) = (tmp_path / "telemetry").glob("report-*.json")
    assert json.loads(report.read_text())["violations"] == 1

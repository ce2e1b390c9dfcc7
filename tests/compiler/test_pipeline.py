"""The whole compile: a bundle that opens, answers and repeats, or one line that says why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from edgekiln.compiler.artifacts import c_constant_bytes
from edgekiln.compiler.bounds import golden_steps
from edgekiln.compiler.calibration_file import Calibration
from edgekiln.compiler.data import Dataset
from edgekiln.compiler.distil import DistilSettings
from edgekiln.compiler.emit_c import memory_plan
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import CompileError, GateError, ImportModelError, RecipeError
from edgekiln.compiler.gate import AccuracyLimits
from edgekiln.compiler.graph import Graph, Node, Value
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.observers import ObserverName
from edgekiln.compiler.ops import NoAttrs, Op
from edgekiln.compiler.parity import Certificate
from edgekiln.compiler.passes import PIPELINE, optimize
from edgekiln.compiler.pipeline import check_model, compile_model, sensitivity
from edgekiln.compiler.recipe import Recipe, Step
from edgekiln.compiler.request import CompileRequest, CompileResult, TargetRequest
from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.contract import Contract
from edgekiln.runtime.engines import OutputScale, open_engine
from edgekiln.runtime.golden import Golden, unpack_golden
from edgekiln.runtime.manifest import Lineage
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.errors import NoCostTableError
from edgekiln.targets.evidence import Budget, Tier
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target


@pytest.fixture(scope="module")
def request_host(digits: Dataset, student_path: Path, priced_host: Target) -> CompileRequest:
    return CompileRequest("digits", student_path, digits, (TargetRequest(priced_host),))


@pytest.fixture(scope="module")
def result(request_host: CompileRequest) -> CompileResult:
    return compile_model(request_host)


def test_bundle_opens_with_every_member_when_compiled(
    result: CompileResult, digits: Dataset, tmp_path: Path
) -> None:
    written = result.write(tmp_path / "digits.ekb")
    bundle = open_bundle(tmp_path / "digits.ekb")
    assert (tmp_path / "digits.ekb").read_bytes() == result.data
    assert bundle.bundle_id == written.bundle_id == result.bundle_id
    assert set(bundle.members) == {
        "manifest.json",
        "contract.json",
        "golden.npz",
        "reference.bin",
        "certificate.json",
        "tensors.json",
        "card.md",
        "artifacts/host/model.tflite",
        "artifacts/host/model.onnx",
    }
    assert bundle.contract == digits.contract
    assert bundle.reference().samples == len(digits.train)
    decoded = msgspec.json.decode(bundle.read("certificate.json"), type=Certificate)
    assert decoded == result.certificate
    assert bundle.manifest.lineage == Lineage(data_sha256=digits.sha256)


def test_device_engines_give_the_golden_labels_when_bundled(result: CompileResult) -> None:
    golden = bundle_golden(result)
    contract = result_contract(result)
    for artifact in result.manifest.artifacts:
        engine = open_engine(
            artifact.format,
            result.members[artifact.path],
            OutputScale(golden.scale, golden.zero_point),
        )
        found = engine.run(contract.preprocess(golden.inputs))
        assert np.abs(found.astype(int) - golden.expected).max() <= 3


def test_golden_vectors_come_from_validation_when_sampled(
    result: CompileResult, digits: Dataset
) -> None:
    known = {sample.tobytes() for sample in digits.x[digits.validation]}
    golden = bundle_golden(result)
    assert len(golden.inputs) == 20
    assert all(sample.tobytes() in known for sample in golden.inputs)


def test_bytes_are_equal_when_compiled_twice(
    request_host: CompileRequest, result: CompileResult
) -> None:
    assert compile_model(request_host).data == result.data


def test_bytes_differ_when_an_input_differs(
    request_host: CompileRequest, result: CompileResult
) -> None:
    other = compile_model(dataclasses.replace(request_host, seed=1))
    assert other.manifest.inputs["settings"] != result.manifest.inputs["settings"]
    assert other.bundle_id != result.bundle_id


def test_recipe_is_on_record_and_sensitivity_is_of_its_plan_when_one_is_given(
    request_host: CompileRequest, result: CompileResult, digits: Dataset
) -> None:
    recipe = Recipe(observer=ObserverName.MSE, steps=(Step.EQUALIZE, Step.BIAS_CORRECT))
    other = compile_model(dataclasses.replace(request_host, recipe=recipe))
    assert set(other.manifest.inputs) - set(result.manifest.inputs) == {"recipe"}
    assert other.bundle_id != result.bundle_id
    assert other.manifest.accuracy_int8 >= other.manifest.accuracy_float - 0.01
    assert all(row.passed for row in other.certificate.engines)
    rows = sensitivity(digits, other.model)
    assert {row.layer for row in rows} == {
        node.name for node in other.model.float_graph.nodes if node.op != "reshape"
    }
    assert all(row.mse > 0 and row.sqnr_db > 10 for row in rows)


def test_recipe_is_refused_before_the_work_when_it_fits_another_model(
    request_host: CompileRequest, digits: Dataset
) -> None:
    assert isinstance(request_host.model, Path)
    with pytest.raises(RecipeError, match="fits no name of the model"):
        check_model(request_host.model, digits, Recipe(keep=("other*",)))


def test_notes_say_what_the_calibration_data_lacks(result: CompileResult) -> None:
    notes = [note for note in result.notes if note.startswith("calibration: ")]
    assert any("of 64 input elements are the same in all" in note for note in notes)
    assert b"calibration: " not in result.members["card.md"]


def test_accuracy_is_that_of_validation_when_counted_with_another_engine(
    result: CompileResult, digits: Dataset
) -> None:
    golden = bundle_golden(result)
    model = result.members["artifacts/host/model.tflite"]
    engine = open_engine("tflite", model, OutputScale(golden.scale, golden.zero_point))
    found = engine.run(digits.contract.preprocess(digits.x[digits.validation])).argmax(axis=1)
    accuracy = float((found == digits.y[digits.validation]).mean())
    assert result.manifest.accuracy_int8 == pytest.approx(accuracy, abs=0.01)
    assert result.manifest.accuracy_float > 0.85


def test_accuracy_of_a_format_is_that_of_its_engine_when_it_runs_here(
    result: CompileResult, digits: Dataset, run_onnx: Callable[[bytes, np.ndarray], np.ndarray]
) -> None:
    x = digits.contract.preprocess(digits.x[digits.validation])
    answers = run_onnx(result.members["artifacts/host/model.onnx"], x).argmax(axis=1)
    expected = float((answers == digits.y[digits.validation]).mean())
    found = {row.format: row.accuracy for row in result.accuracies}
    assert found["onnx"] == expected
    by_format = {artifact.format: artifact.accuracy for artifact in result.manifest.artifacts}
    assert by_format == found


def test_samples_of_a_file_set_the_ranges_when_calibration_is_given(
    request_host: CompileRequest, result: CompileResult, digits: Dataset
) -> None:
    own = Calibration("own", 2 * digits.x[digits.train[:40]], None, "ab" * 32)
    other = compile_model(
        dataclasses.replace(request_host, calibration=own, force_reason="ranges twice as wide")
    )
    assert other.manifest.inputs["calibration"] == own.sha256
    entry, plain = other.model.graph.input.quant, result.model.graph.input.quant
    assert entry is not None
    assert plain is not None
    assert entry.scale[0] == pytest.approx(2 * plain.scale[0], rel=0.01)
    assert any("calibration: 40 samples set the ranges" in note for note in other.notes)


def test_every_pass_is_told_with_a_sound_graph_when_traced(request_host: CompileRequest) -> None:
    steps: list[tuple[str, int]] = []
    compile_model(request_host, trace=lambda step, graph: steps.append((step, len(graph.nodes))))
    names = [name for name, _ in steps]
    assert names[:2] == ["import", "end in logits"]
    assert names[2:-3] == [rewrite.__name__.replace("_", " ") for rewrite in PIPELINE]
    assert names[-3:] == ["quantize", "lower for tflite", "lower for onnx"]
    assert steps[0][1] > steps[-3][1] > 0


def test_measurement_is_reported_and_kept_out_of_the_bundle(result: CompileResult) -> None:
    for report in result.artifacts:
        assert report.measured is not None
        assert report.measured.tier is Tier.T3
        assert report.footprint.latency.tier < Tier.T2
    assert b"measured" not in result.members["card.md"]


def test_every_format_is_priced_with_the_table_of_its_engine(result: CompileResult) -> None:
    latencies = {item.format: item.latency for item in result.manifest.artifacts}
    ids = {fmt: (latency.tier, latency.evidence_id) for fmt, latency in latencies.items()}
    assert ids == {
        "tflite": ("T1", "made-up-litert"),
        "onnx": ("T1", "made-up-onnxruntime"),
    }
    assert latencies["onnx"].value == pytest.approx(latencies["tflite"].value + 0.006)


def test_compile_is_refused_when_an_engine_has_no_table(
    request_host: CompileRequest, priced_host: Target
) -> None:
    litert = dataclasses.replace(priced_host, costs=priced_host.costs[:1])
    request = dataclasses.replace(request_host, targets=(TargetRequest(litert),))
    with pytest.raises(NoCostTableError, match=r"'onnxruntime'.*edgekiln targets calibrate host"):
        compile_model(request)


@pytest.mark.slow
def test_teacher_is_used_and_recorded_when_given(
    request_host: CompileRequest, result: CompileResult, teacher_path: Path
) -> None:
    said: list[str] = []
    request = dataclasses.replace(
        request_host, teacher=teacher_path, distillation=DistilSettings(epochs=3)
    )
    distilled = compile_model(request, said.append)
    assert distilled.distillation is not None
    assert "teacher" in distilled.manifest.inputs
    assert distilled.manifest.accuracy_float >= result.manifest.accuracy_float
    assert said[0] == "distil: 3 epochs with teacher.pt2"
    assert [line.split(":")[0] for line in said[2:]] == [
        *("quantize", "quantize", "emit", "price", "certify", "certify", "gate")
    ]


def test_gate_refuses_with_every_failure_when_over_budget(request_host: CompileRequest) -> None:
    target = request_host.targets[0].target
    strict = dataclasses.replace(
        request_host,
        targets=(TargetRequest(target, ("tflite",), Budget(latency_ms=1e-4, flash_bytes=1000)),),
        limits=AccuracyLimits(minimum=0.999),
    )
    with pytest.raises(GateError) as caught:
        compile_model(strict)
    text = str(caught.value)
    assert "\n" not in text
    assert "is missing" in text
    assert "host/tflite: latency" in text
    assert "fewer MACs" in text
    assert "host/tflite: flash" in text


@pytest.fixture(scope="module")
def between(result: CompileResult) -> Budget:
    """A latency that host/tflite keeps, and host/onnx, slower by the made-up table, does not."""
    highs = {a.format: a.footprint.latency.high for a in result.artifacts if a.footprint.latency}
    assert highs["tflite"] < highs["onnx"]
    return Budget(latency_ms=(highs["tflite"] + highs["onnx"]) / 2)


def test_format_is_left_out_and_told_when_it_misses_the_budget_and_nobody_named_it(
    request_host: CompileRequest, between: Budget
) -> None:
    target = request_host.targets[0].target
    assert target.formats[0] == "tflite"
    targets = (TargetRequest(target, budget=between),)
    kept = compile_model(dataclasses.replace(request_host, targets=targets))
    assert [artifact.format for artifact in kept.manifest.artifacts] == ["tflite"]
    assert {row.format for row in kept.certificate.engines} == {"float32", "tflite"}
    assert kept.manifest.gate.passed
    (note,) = [note for note in kept.notes if "left out" in note]
    assert note.startswith("host/onnx is left out: latency")


def test_gate_refuses_when_a_format_that_was_named_misses_the_budget(
    request_host: CompileRequest, between: Budget
) -> None:
    named = TargetRequest(request_host.targets[0].target, ("tflite", "onnx"), between)
    with pytest.raises(GateError, match="host/onnx: latency"):
        compile_model(dataclasses.replace(request_host, targets=(named,)))


def test_note_says_so_when_a_model_knows_no_more_than_the_commonest_class(
    request_host: CompileRequest, result: CompileResult
) -> None:
    """As it is where inputs are not prepared as in training: the gate alone would not see it."""
    data = request_host.dataset
    wrong = dataclasses.replace(data, y=np.random.default_rng(0).permutation(data.y))
    notes = compile_model(dataclasses.replace(request_host, dataset=wrong)).notes
    (note,) = [note for note in notes if "no better than always answering" in note]
    assert "(x - 0) · 0.0625" in note
    assert not [note for note in result.notes if "no better than" in note]


def test_artifact_says_how_far_its_engine_may_be_from_golden_vectors(
    result: CompileResult, request_host: CompileRequest
) -> None:
    """A device that holds its engine to less than the certificate would refuse good releases."""
    rows = {
        row.format: row for row in result.certificate.golden if row.engine != "litert-reference"
    }
    allowed = {a.format: a.golden_max_lsb for a in result.manifest.artifacts}
    depth = result.certificate.depth
    assert allowed == {"tflite": 2 * depth, "onnx": 2 * depth}
    assert all((rows[fmt].max_lsb or 0) <= steps for fmt, steps in allowed.items())
    assert golden_steps("c", result.model.graph) == 0


def test_bundle_keeps_failed_checks_and_reason_when_forced(request_host: CompileRequest) -> None:
    forced = dataclasses.replace(
        request_host, limits=AccuracyLimits(minimum=0.999), force_reason="a bad release on purpose"
    )
    gate = compile_model(forced).manifest.gate
    assert not gate.passed
    assert gate.forced_reason == "a bad release on purpose"
    assert [check.quantity for check in gate.checks if not check.passed] == ["accuracy"]


def test_test_split_stays_sealed_when_compiling(
    request_host: CompileRequest, result: CompileResult
) -> None:
    assert request_host.dataset.test_openings == 0
    assert "The test split was not opened." in result.members["card.md"].decode()


@pytest.mark.slow
def test_microcontroller_gets_emulated_latency_when_tools_are_here(
    digits: Dataset, student_path: Path, require_tool: Callable[[str], str]
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    target = load_target("cortex-m4")
    request = CompileRequest("digits", student_path, digits, (TargetRequest(target),))
    result = compile_model(request)
    by_format = {artifact.format: artifact for artifact in result.manifest.artifacts}
    assert (by_format["c"].latency.tier, by_format["tflite"].latency.tier) == ("T2", "T1")
    assert by_format["c"].latency.evidence_id == "qemu-instructions"
    assert by_format["tflite"].latency.evidence_id == "mlperf-tiny"
    rows = {row.engine: row for row in result.certificate.engines}
    assert (rows["c-emulated"].mismatches, rows["c-emulated"].samples) == (0, 20)
    assert (rows["c-host"].mismatches, rows["c-host"].samples) == (0, 200)
    folder = {
        name.removeprefix("artifacts/cortex-m4/c/"): data
        for name, data in result.members.items()
        if name.startswith("artifacts/cortex-m4/c/")
    }
    image = next(item.figures for item in result.artifacts if item.format == "c")
    assert by_format["c"].ram.value == image.ram_total_bytes >= image.arena_bytes
    assert by_format["c"].flash.value == image.code_bytes + image.weight_bytes
    assert image.weight_bytes >= c_constant_bytes(folder)
    assert {by_format["c"].ram.evidence_id, by_format["c"].flash.evidence_id} == {"linked-image"}
    assert image.lower_bound_arena_bytes <= image.arena_bytes >= image.scratch_bytes > 0
    assert sum(cost.instructions for cost in image.per_layer) == image.instructions
    assert any(note.startswith("cortex-m4/c: emulated") for note in result.notes)


@pytest.mark.slow
def test_each_core_gets_the_kernels_that_suit_it_when_cores_differ(
    digits: Dataset, student_path: Path, require_tool: Callable[[str], str]
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    fast = load_target("cortex-m4")
    plain = dataclasses.replace(fast, id="plain", core="cortex-m3")
    targets = tuple(TargetRequest(target, ("c",)) for target in (fast, plain))
    result = compile_model(CompileRequest("digits", student_path, digits, targets))
    made = {artifact.target: artifact for artifact in result.manifest.artifacts}
    dsp = {name.split("/")[1] for name in result.members if "/c/ek_dsp" in name}
    assert dsp == {fast.id}
    assert 1.3 * made[fast.id].latency.value < made[plain.id].latency.value
    for target in (fast, plain):
        plan = memory_plan(result.model.graph, family_of_core(target.core))
        stack = made[target.id].ram.value - plan.arena_bytes
        assert 0 < stack < target.runtime.ram_overhead  # which is a reserve for it
        constants = (v.data for v in result.model.graph.values.values() if v.data is not None)
        assert made[target.id].flash.value > sum(data.size for data in constants)
    rows = result.certificate.engines
    found = {row.kernels: row.max_lsb for row in rows if row.engine == "c-host"}
    assert found == {"dsp": 0, "portable": 0}
    emulated = {row.target: row.max_lsb for row in rows if row.engine == "c-emulated"}
    assert emulated == {fast.id: 0, plain.id: 0}


def test_table_prices_generated_c_and_says_so_when_tools_are_absent(
    digits: Dataset, student_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    target = load_target("cortex-m4")
    request = CompileRequest("digits", student_path, digits, (TargetRequest(target, ("c",)),))
    result = compile_model(request)
    (artifact,) = result.manifest.artifacts
    assert (artifact.latency.tier, artifact.latency.evidence_id) == ("T2", "core-instructions")
    note = next(note for note in result.notes if note.startswith("cortex-m4/c: not emulated here"))
    assert "apt-get install gcc-arm-none-eabi" in note
    assert (artifact.ram.tier, artifact.ram.evidence_id) == ("T0", "planner")
    figures = result.artifacts[0].figures
    assert artifact.ram.value == figures.arena_bytes + target.runtime.ram_overhead
    assert figures.weight_bytes > 0 < figures.lower_bound_arena_bytes
    counted = (figures.instructions, figures.stack_bytes, figures.code_bytes, figures.bit_exact)
    assert counted == (None, None, None, None)
    assert any("gcc not found" in note for note in result.notes)


def test_estimator_compiles_when_it_comes_from_scikit_learn(
    digits: Dataset, priced_host: Target
) -> None:
    rows = digits.train
    x = digits.contract.preprocess(digits.x[rows]).reshape(len(rows), -1)
    estimator = LogisticRegression(max_iter=300).fit(x, digits.y[rows])
    request = CompileRequest("logistic", estimator, digits, (TargetRequest(priced_host),))
    result = compile_model(request)
    validation = digits.validation
    expected = estimator.score(
        digits.contract.preprocess(digits.x[validation]).reshape(len(validation), -1),
        digits.y[validation],
    )
    assert result.manifest.accuracy_float == pytest.approx(expected, abs=1e-6)
    assert "model" in result.manifest.inputs


def test_graph_compiles_to_the_same_artifacts_when_imported_before(
    request_host: CompileRequest, result: CompileResult, student_path: Path
) -> None:
    graph = import_model(student_path)
    assert isinstance(graph, Graph)
    again = compile_model(dataclasses.replace(request_host, model=graph))
    path = "artifacts/host/model.onnx"
    assert len(again.members[path]) == pytest.approx(len(result.members[path]), rel=0.02)
    assert again.manifest.accuracy_int8 == result.manifest.accuracy_int8


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"targets": ()}, CompileError, "at least one target"),
        ({"model": Path("nowhere.pt2")}, ImportModelError, "no such file"),
        ({"model": Path("model.h5")}, ImportModelError, "unknown model format"),
        ({"teacher": Path("nowhere.pt2")}, ImportModelError, "nowhere.pt2: there is no such file"),
        ({"model": object(), "teacher": Path("t.pt2")}, CompileError, "only a .pt2 model can be"),
    ],
)
def test_one_line_is_said_when_the_request_is_wrong(
    request_host: CompileRequest,
    change: dict[str, object],
    error: type[CompileError],
    text: str,
) -> None:
    with pytest.raises(error, match=text) as caught:
        compile_model(dataclasses.replace(request_host, **change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_one_line_is_said_when_a_target_is_wrong(
    request_host: CompileRequest, priced_host: Target
) -> None:
    def compile_for(*targets: TargetRequest) -> None:
        compile_model(dataclasses.replace(request_host, targets=targets))

    with pytest.raises(CompileError, match="cannot run format 'c'; it runs: tflite, onnx"):
        compile_for(TargetRequest(dataclasses.replace(priced_host, optional_formats=()), ("c",)))
    with pytest.raises(CompileError, match="each target can be named once"):
        compile_for(TargetRequest(priced_host), TargetRequest(priced_host))
    with pytest.raises(NoCostTableError, match="edgekiln targets calibrate host"):
        compile_for(TargetRequest(load_target("host")))


def bundle_golden(result: CompileResult) -> Golden:
    return unpack_golden(result.members["golden.npz"], "test")


def result_contract(result: CompileResult) -> Contract:
    return msgspec.json.decode(result.members["contract.json"], type=Contract)


def test_compile_takes_a_float_tflite_file_when_it_ends_in_softmax(
    request_host: CompileRequest, result: CompileResult, student_path: Path, tmp_path: Path
) -> None:
    graph = optimize(import_model(student_path))
    shares = Value("a/strange;name", graph.output.shape, graph.output.dtype)
    last = Node(Op.SOFTMAX, shares.name, graph.outputs, (shares.name,), NoAttrs())
    ended = Graph.build(
        graph.name, [*graph.values.values(), shares], [*graph.nodes, last], graph.inputs,
        (shares.name,),
    )  # fmt: skip
    path = tmp_path / "student.tflite"
    path.write_bytes(emit_tflite(ended))
    again = compile_model(dataclasses.replace(request_host, model=path))
    assert again.manifest.accuracy_int8 == result.manifest.accuracy_int8
    np.testing.assert_array_equal(bundle_golden(again).expected, bundle_golden(result).expected)


def test_numbers_are_kept_and_certified_when_a_tflite_file_came_quantized(
    request_host: CompileRequest, result: CompileResult, tmp_path: Path
) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(result.members["artifacts/host/model.tflite"])
    said: list[str] = []
    again = compile_model(dataclasses.replace(request_host, model=path), said.append)
    assert again.manifest.accuracy_float is None
    assert again.manifest.accuracy_int8 == result.manifest.accuracy_int8
    assert any("the model came quantized" in note for note in again.notes)
    assert b"the model came quantized" in again.members["card.md"]
    assert [check.quantity for check in again.manifest.gate.checks][:1] != ["accuracy drop"]
    assert {row.engine: row.max_lsb for row in again.certificate.engines} == {
        row.engine: row.max_lsb for row in result.certificate.engines if row.engine != "float"
    }
    np.testing.assert_array_equal(bundle_golden(again).expected, bundle_golden(result).expected)
    with pytest.raises(CompileError, match=r"no sensitivity of 'int8': the model came quantized"):
        sensitivity(request_host.dataset, again.model)


def test_recipe_is_refused_when_the_model_came_quantized(
    request_host: CompileRequest, result: CompileResult, tmp_path: Path
) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(result.members["artifacts/host/model.tflite"])
    with pytest.raises(RecipeError, match="compile it without a recipe"):
        check_model(path, request_host.dataset, Recipe(observer=ObserverName.MSE))


def test_compile_refuses_a_teacher_when_the_model_is_a_tflite_file(
    request_host: CompileRequest, student_path: Path, tmp_path: Path
) -> None:
    request = dataclasses.replace(
        request_host, model=tmp_path / "student.tflite", teacher=student_path
    )
    with pytest.raises(CompileError, match=r"only a \.pt2 model"):
        compile_model(request)

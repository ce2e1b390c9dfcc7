"""`edgekiln compile` with a recipe, a report layer by layer, and its one JSON document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

COMPILE = ("compile", "tiny.pt2", "--data", "good.npz", "--format", "tflite", "-o")


@pytest.mark.slow
def test_report_has_sensitivity_when_it_is_asked_for(built: Path, cli) -> None:
    asked = cli(
        (*COMPILE, "recipe.ekb", "--recipe", "recipe.toml", "--sensitivity", "--json"), built
    )
    assert asked.code == 0, asked.err
    document = json.loads(asked.out)
    (row,) = document["sensitivity"]
    assert row["op"] == "fully_connected"
    assert row["mse"] > 0
    assert row["sqnr_db"] > 20
    assert (row["label_flips"], row["samples"]) == (0, 36)
    assert "calibration: 36 samples set the ranges" in asked.err
    plain = cli((*COMPILE, "plain.ekb", "--json"), built)
    assert plain.code == 0, plain.err
    assert "sensitivity" not in json.loads(plain.out)
    assert json.loads(plain.out)["bundle_id"] != document["bundle_id"]


@pytest.mark.slow
def test_inputs_are_prepared_as_the_command_line_says_before_the_file(built: Path, cli) -> None:
    from edgekiln.runtime import open_bundle

    (built / "none.toml").write_text('[contract]\npreprocessing = "none"\nunit = "g"\n')
    for options, steps in ((), 0), (("--preprocessing", "unit"), 1):
        ran = cli((*COMPILE, "said.ekb", "--project", "none.toml", *options, "--json"), built)
        assert ran.code == 0, ran.err
        contract = open_bundle(built / "said.ekb").contract
        assert (len(contract.preprocessing), contract.input.unit) == (steps, "g")
        assert "data: good, 60 samples of features (4,), 3 classes; preprocessing: " in ran.err
        (built / "said.ekb").unlink()


@pytest.mark.slow
def test_table_has_a_row_a_layer_when_sensitivity_is_asked_for(built: Path, cli) -> None:
    ran = cli((*COMPILE, "table.ekb", "--sensitivity"), built)
    assert ran.code == 0, ran.err
    assert "layer\toperator\tlogit MSE\tSQNR\tlabel flips" in ran.out
    assert "0 of 36" in ran.out


@pytest.mark.slow
def test_document_tells_accuracy_and_parity_when_a_model_is_compiled(built: Path, cli) -> None:
    both = ("compile", "tiny.pt2", "--data", "good.npz", "--calibration", "no_y.npz", "--debug")
    ran = cli((*both, "-o", "both.ekb", "--json"), built)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    accuracy, parity = document["accuracy"], document["parity"]
    assert (accuracy["float"], accuracy["reference"]) == (1.0, 1.0)
    assert (accuracy["onnx"], accuracy["tflite"], accuracy["absent"]) == (1.0, 1.0, {})
    assert parity["reference_vs_litert_ref_max_lsb"] == 0
    assert parity["xnnpack_max_lsb"] <= 1
    assert parity["ort_max_lsb"] <= 1
    assert (parity["label_flips"], parity["samples"]) == (0, 12)
    assert parity["first_diverging_layer"] == ""
    assert {row["format"]: row["path"] for row in document["artifacts"]} == {
        "tflite": "artifacts/host/model.tflite",
        "onnx": "artifacts/host/model.onnx",
    }
    assert document["gate"]["passed"]
    assert document["wall_s"] > 0 < document["peak_rss_mb"]
    assert "clean up: 1 nodes: 1 fully_connected" in ran.err
    assert "lower for tflite: 1 nodes" in ran.err
    assert "calibration: 60 samples set the ranges" in ran.err
    checked = cli(("verify", "both.ekb", "--data", "good.npz", "--json"), built)
    assert checked.code == 0, checked.err
    report = json.loads(checked.out)
    assert (report["passed"], report["differences"]) == (True, [])
    assert report["certificate"]["samples"] == 12


@pytest.mark.slow
def test_float_accuracy_is_null_with_its_reason_when_the_file_came_quantized(
    built: Path, tmp_path: Path, cli
) -> None:
    from edgekiln.runtime.bundle import open_bundle

    model = tmp_path / "int8.tflite"
    model.write_bytes(open_bundle(built / "good.ekb").read("artifacts/host/model.tflite"))
    made = tmp_path / "int8.ekb"
    ran = cli(("compile", str(model), "--data", "good.npz", "-o", str(made), "--json"), built)
    assert ran.code == 0, ran.err
    accuracy = json.loads(ran.out)["accuracy"]
    assert accuracy["float"] is None
    assert "came quantized" in accuracy["absent"]["float"]
    assert accuracy["reference"] == accuracy["tflite"] == accuracy["onnx"] == 1.0

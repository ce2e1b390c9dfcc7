"""`edgekiln compile` with a recipe and a report layer by layer."""

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
def test_table_has_a_row_a_layer_when_sensitivity_is_asked_for(built: Path, cli) -> None:
    ran = cli((*COMPILE, "table.ekb", "--sensitivity"), built)
    assert ran.code == 0, ran.err
    assert "layer\toperator\tlogit MSE\tSQNR\tlabel flips" in ran.out
    assert "0 of 36" in ran.out

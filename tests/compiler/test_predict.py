"""Prediction of a model file: a bound with what it rests on, or one line why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.predict import predict
from edgekiln.compiler.probe_networks import network
from edgekiln.targets import load_target


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "separable.tflite"
    path.write_bytes(emit_tflite(network("separable", 4)))
    return path


def test_every_engine_is_predicted_with_a_bound_at_the_rate(model: Path) -> None:
    target = load_target("cortex-m4")
    usual, surer = predict(model, target, 0.9), predict(model, target, 0.95)
    assert [p.engine for p in usual] == ["c", "tflm"]
    for prediction in usual:
        assert prediction.estimate is not None
        assert prediction.upper_ms == pytest.approx(prediction.estimate.high)
    assert (usual[0].interval, usual[0].heldout) == ("split", 21)
    assert surer[0].upper_ms is not None
    assert usual[0].upper_ms is not None
    assert surer[0].upper_ms >= usual[0].upper_ms


def test_reason_is_told_when_held_out_models_cannot_carry_the_rate(model: Path) -> None:
    for prediction in predict(model, load_target("cortex-m4"), 0.99):
        assert prediction.estimate is None
        assert "a bound at 0.99 takes 99" in prediction.why_not

"""A device from timed model files: the file is read, the costs come back, errors are one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.fewshot import TimedModel, onboard, read_times
from edgekiln.compiler.probe_networks import networks
from edgekiln.compiler.workload import workload
from edgekiln.targets import MeasurementError, Tier, load_target


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> list[TimedModel]:
    """Networks on a device of 50 µs a run, 2 µs a call, 0.3 ns a MAC."""
    folder, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    models = []
    for graph in networks(5, 14):
        path = folder / f"{graph.name}.tflite"
        path.write_bytes(emit_tflite(graph))
        work = workload(graph)
        microseconds = 50 + 2 * len(work.layers) + 0.3 * work.macs / 1e3
        models.append(TimedModel(path, microseconds / 1e3 * rng.lognormal(0, 0.02)))
    return models


def test_profile_has_the_devices_own_costs_when_models_were_timed(timed) -> None:
    done = onboard(timed, load_target("raspberry-pi-4"), "mine")
    (table,) = done.target.costs
    assert (done.target.id, table.engine, table.tier) == ("mine", "litert", Tier.T4)
    assert table.ops["conv2d"].ns_per_mac == pytest.approx(0.3, rel=0.1)
    assert (table.samples, len(table.heldout_ratios)) == (14, 14)
    assert table.high_ratio < 1.2
    assert "14 .tflite models timed on the device" in done.target.evidence[-1].source


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_times_are_read_from_either_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"times{suffix}"
    text = {".csv": "model,ms\na.tflite,1.5\n", ".json": '[{"model": "a.tflite", "ms": 1.5}]'}
    path.write_text(text[suffix])
    assert read_times(path) == (TimedModel(tmp_path / "a.tflite", 1.5),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,ms\na.tflite,fast\n", r"times.csv: .*model,ms"),
        ("file,ms\na.tflite,1\n", r"times.csv: .*model,ms"),
        ("model,ms\na.tflite,0\n", r"row 1: 0.0 ms; a time must be above 0"),
    ],
)
def test_file_of_times_is_an_error_that_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "times.csv"
    path.write_text(text)
    with pytest.raises(MeasurementError, match=message):
        read_times(path)


def test_models_of_two_formats_are_refused(tmp_path: Path) -> None:
    mixed = [TimedModel(tmp_path / "a.tflite", 1.0), TimedModel(tmp_path / "b.onnx", 1.0)]
    with pytest.raises(MeasurementError, match=r"one format make a table.*\.onnx, \.tflite"):
        onboard(mixed, load_target("raspberry-pi-4"), "mine")

"""`edgekiln targets`: what a pipe gets, and a calibration that is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgekiln.cli.calibrated import calibrated, measured_hosts
from edgekiln.cli.targets_calibrate import print_costs, write_profile
from edgekiln.targets import CostTable, OpCost, Target, Tier, load_target


def measured_host(*engines: str) -> Target:
    tables = (
        CostTable({"add": OpCost(1.0, 0.0, 0.5, 0.25)}, engine, "int8", Tier.T3, "x", 0.5, 2.0)
        for engine in engines
    )
    return dataclasses.replace(load_target("host"), costs=tuple(tables))


def test_every_table_says_its_engine_tier_and_interval_when_piped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_costs(measured_host("litert"))
    title, columns, row = capsys.readouterr().out.splitlines()
    assert title.startswith("litert int8 measured (T3, -50% +100%)")
    assert columns.split("\t")[4] == "ns per output"
    assert row.split("\t") == ["add", "1", "0", "0.5", "0.25", "0", "0"]


def test_written_profile_is_the_one_that_is_loaded_when_its_folder_is_named(
    tmp_path: Path,
) -> None:
    cortex = load_target("cortex-m4")
    faster = dataclasses.replace(cortex, clock_hz=240_000_000)
    write_profile(faster, tmp_path / "cortex-m4.toml")
    again = load_target("cortex-m4", (tmp_path,))
    assert (again.clock_hz, again.costs) == (240_000_000, cortex.costs)


def test_profile_with_measurements_of_every_engine_is_not_measured_again() -> None:
    host = measured_host("litert", "onnxruntime")
    said: list[str] = []
    assert calibrated([host], said.append).targets == (host,)
    assert "measured before" in said[0]


def test_only_what_was_asked_for_is_measured_when_a_host_is_compiled_for() -> None:
    host = measured_host("litert", "onnxruntime")
    target = load_target("cortex-m4")
    said: list[str] = []
    assert measured_hosts([host, target], said.append, (), ("tflite",)) == (host, target)
    assert said == ["host: measured before, the cost tables of its profile are used"]


def test_note_says_where_the_numbers_come_from_when_tools_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    target = load_target("cortex-m4")
    known = calibrated([target], lambda _: None)
    assert known.targets == (target,)
    (note,) = known.notes
    assert "cortex-m4 was not emulated here" in note
    assert "cost tables of its profile" in note


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"core": "xtensa-lx6"}, "its core 'xtensa-lx6' has no emulated board"),
        ({"formats": ("tflite",)}, "it runs no generated C"),
    ],
)
def test_profile_is_used_with_a_reason_when_its_core_cannot_be_emulated(
    change: dict[str, object], reason: str
) -> None:
    target = dataclasses.replace(load_target("cortex-m4"), **change)  # type: ignore[arg-type]
    known = calibrated([target], lambda _: None)
    assert known.targets == (target,)
    assert reason in known.notes[0]


@pytest.mark.parametrize(
    ("target_id", "notes"),
    [("esp32-c3", 1), ("ek-ra8m1", 1), ("pixel-3", 0), ("alif-ensemble-e8", 0)],
)
def test_nothing_is_counted_when_it_could_not_become_time(target_id: str, notes: int) -> None:
    target = load_target(target_id)
    said: list[str] = []
    known = calibrated([target], said.append)
    assert (known.targets, said) == ((target,), [])
    assert len(known.notes) == notes
    assert all("not emulated here" in note for note in known.notes)


def test_interval_says_how_many_models_it_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    (table,) = measured_host("litert").costs
    ratios = tuple(0.8 + i / 50 for i in range(14))
    known = dataclasses.replace(table, interval="split", heldout_ratios=ratios, samples=47)
    print_costs(dataclasses.replace(measured_host(), costs=(known,)))
    assert "fitted to 47; interval of n = 14 models apart from the fit" in capsys.readouterr().out


def test_loops_are_counted_when_a_table_prices_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (table,) = measured_host("litert").costs
    loops = {"add": OpCost(0.0, 0.0, 0.0, loops={"add_call": 30.0, "add_outputs": 2.5})}
    print_costs(
        dataclasses.replace(measured_host(), costs=(dataclasses.replace(table, ops=loops),))
    )
    assert "add\t2\n" in capsys.readouterr().out

"""Cores: what a profile takes from one, and how its tables become time."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tomllib
from pathlib import Path

import pytest

from edgekiln.compiler.coverage import operators_of
from edgekiln.targets import ProfileError, Tier, list_targets, load_target, read_profile
from edgekiln.targets.core import CORES_FOLDER, core_names, cost_tables, read_core
from edgekiln.targets.core_costs import file_of
from edgekiln.targets.estimate import strongest_table
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.profiles import BUILTIN_FOLDER

BOARD = """\
schema = 1
id = "board"
title = "A board"
class = "mcu"
extends = "cortex-m4f"
clock_hz = 60_000_000
[memory]
ram = 100_000
flash = 200_000
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", core_names())
def test_shipped_core_reads_and_prices_what_generated_c_has(name: str) -> None:
    core = read_core(name)
    assert core.file.core == name
    can = {op for op, _ in operators_of("c")}
    for costs in core.file.costs:
        assert (costs.unit, costs.engine, costs.tier) == ("instructions", "c", "T2")
        assert set(costs.ops) <= can
        assert name in MACHINES


def test_every_shipped_core_has_a_device() -> None:
    assert {read_core(name).file.core for name in core_names()} <= {t.core for t in list_targets()}


def test_profile_takes_what_it_lacks_from_its_core(tmp_path: Path) -> None:
    target, core = read_profile(write(tmp_path, BOARD)), read_core("cortex-m4f").file
    assert (target.core, target.formats) == ("cortex-m4f", ("c",))
    assert target.cycles_per_instruction == core.cycles_per_instruction
    assert core.runtime is not None
    assert target.runtime.flash_overhead == core.runtime.flash_overhead
    shared = {item.id for item in core.evidence} | {"core-instructions"}
    assert {item.id for item in target.evidence} == shared


def test_profiles_own_keys_and_evidence_win_over_its_cores(tmp_path: Path) -> None:
    own = BOARD.replace("[memory]", 'formats = ["tflite"]\n[runtime]\nname = "tflm"\n[memory]')
    own += '[[evidence]]\nid = "probes-c"\ntier = "T0"\nsource = "mine"\n'
    target = read_profile(write(tmp_path, own))
    assert (target.formats, target.runtime.name) == (("tflite",), "tflm")
    assert [item.source for item in target.evidence if item.id == "probes-c"] == ["mine"]


def test_profiles_own_cost_table_stands_in_for_its_cores(tmp_path: Path) -> None:
    own = """
[[costs]]
engine = "c"
dtype = "int8"
tier = "T4"
evidence = "timer"
low_ratio = 0.9
high_ratio = 1.1
[costs.ops]
conv2d = { ns_per_mac = 3.0 }
[[evidence]]
id = "timer"
tier = "T4"
source = "a timer on the board"
"""
    (table,) = read_profile(write(tmp_path, BOARD + own)).costs
    assert (table.tier, table.evidence_id) == (Tier.T4, "timer")


def test_generated_c_is_priced_by_the_loops_of_its_kernels(tmp_path: Path) -> None:
    target = read_profile(write(tmp_path, BOARD))
    table = strongest_table(target, "c", "int8")
    assert [costs.evidence_id for costs in target.costs] == ["core-instructions"]
    assert all(cost.loops for cost in table.ops.values())


def test_instructions_become_time_by_clock_and_cycles() -> None:
    core = read_core("cortex-m55")
    (table,) = cost_tables(core, 60_000_000, (1.0, 2.0, 4.0))
    (counted,) = core.file.costs
    # At 60 MHz and 2 cycles each an instruction takes a thirtieth of a microsecond.
    assert table.ops["conv2d"].ns_per_mac == pytest.approx(
        counted.ops["conv2d"].per_mac * 1e3 / 30, rel=1e-5
    )
    assert table.ops["conv2d"].per_call_us == pytest.approx(
        counted.ops["conv2d"].per_call / 30, rel=1e-5
    )
    assert table.low_ratio == pytest.approx(counted.low_ratio / 2, rel=1e-5)
    assert table.high_ratio == pytest.approx(counted.high_ratio * 2, rel=1e-5)
    assert table.tier is Tier.T2


def test_twice_the_clock_halves_every_cost() -> None:
    core, cpi = read_core("cortex-m55"), (1.0, 1.5, 2.0)
    (slow,), (fast,) = cost_tables(core, 50_000_000, cpi), cost_tables(core, 100_000_000, cpi)
    for op, cost in slow.ops.items():
        assert dataclasses.astuple(fast.ops[op])[:-1] == pytest.approx(
            [figure / 2 for figure in dataclasses.astuple(cost)[:-1]], rel=1e-5
        )


def test_no_table_is_made_when_nothing_says_what_an_instruction_takes() -> None:
    assert cost_tables(read_core("cortex-m55"), 10**8, None) == ()


def test_digest_covers_the_core_when_a_profile_extends_one() -> None:
    data = (BUILTIN_FOLDER / "nrf52840-dk.toml").read_bytes()
    core = (CORES_FOLDER / "cortex-m4f.toml").read_bytes()
    loops = file_of("cortex-m4f").read_bytes()
    assert load_target("nrf52840-dk").digest == hashlib.sha256(data + core + loops).hexdigest()


def test_core_is_refused_when_its_file_breaks_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekiln.targets.core.CORES_FOLDER", tmp_path)
    good = (CORES_FOLDER / "cortex-m55.toml").read_text(encoding="utf-8")
    wrong = {
        "unit": good.replace('"instructions"', '"seconds"'),
        "negative": good.replace("per_mac = ", "per_mac = -"),
        "evidence": good.replace('evidence = "probes-c"', 'evidence = "hearsay"'),
    }
    for name, text in wrong.items():
        assert text != good
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    expected = {
        "unit": "allowed: instructions, cycles",
        "negative": "negative or not finite",
        "evidence": r"no \[\[evidence\]\] of that id",
    }
    for name, message in expected.items():
        with pytest.raises(ProfileError, match=message):
            read_core(name)


def test_cycles_per_instruction_name_their_evidence() -> None:
    for path in CORES_FOLDER.glob("*.toml"):
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        low, value, high = document.get("cycles_per_instruction", (1, 1, 1))
        assert 0 < low <= value <= high < math.inf
        if "cycles_per_instruction" in document:
            assert {"cycle-tables", "cycle-ratio"} & {item["id"] for item in document["evidence"]}

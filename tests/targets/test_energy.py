"""Energy: what a device draws, times how long; never a number where one of the two is unknown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.gate import effective_budget
from edgekiln.targets import (
    Budget,
    Estimate,
    ProfileError,
    TargetError,
    Tier,
    load_target,
    profile_text,
)
from edgekiln.targets.energy import energy_of
from edgekiln.targets.estimate import footprint
from edgekiln.targets.target import Power

LATENCY = Estimate(20.0, 15.0, 30.0, "ms", Tier.T2, "probes")
POWER = Power(8.0, 10.0, 20.0, "sheet", Tier.T0)


def test_energy_is_power_times_latency_at_the_weaker_tier() -> None:
    target = dataclasses.replace(load_target("cortex-m4"), power=POWER)
    found = energy_of(target, LATENCY)
    assert found == Estimate(0.2, 0.12, 0.6, "mJ", Tier.T0, "sheet")


@pytest.mark.parametrize(("power", "latency"), [(None, LATENCY), (POWER, None)])
def test_energy_is_unknown_when_power_or_latency_is(power, latency) -> None:
    target = dataclasses.replace(load_target("cortex-m4"), power=power)
    assert energy_of(target, latency) is None


def test_budget_is_checked_against_the_upper_bound_of_energy() -> None:
    target = dataclasses.replace(load_target("cortex-m4"), power=POWER)
    cost = footprint(target, LATENCY, 100, 100)
    assert [c.passed for c in cost.check(Budget(energy_mj=0.6))] == [True]
    (check,) = cost.check(Budget(energy_mj=0.5))
    assert not check.passed
    assert "energy 0.6 mJ is over the budget of 0.5" in check.message


def test_budget_of_energy_is_an_error_when_nothing_prices_it() -> None:
    target = load_target("cortex-m4")
    assert target.power is None
    with pytest.raises(TargetError, match="nothing prices this energy"):
        footprint(target, LATENCY, 100, 100).check(Budget(energy_mj=1.0))
    with pytest.raises(CompileError, match=r"cortex-m4: .* add \[power\] active_mw"):
        effective_budget(target, Budget(energy_mj=1.0))


def test_power_survives_being_written_and_read(tmp_path: Path) -> None:
    target = load_target("nrf52840-dk")
    assert target.power is not None
    path = tmp_path / "mine.toml"
    path.write_text(profile_text(target, "mine"))
    assert load_target("mine", (tmp_path,)).power == target.power


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('active_mw = [3, 2, 9]\nevidence = "datasheet"', "must be low <= value <= high"),
        ('active_mw = [1, 2, 3]\nevidence = "rumour"', "no .*evidence.* has the id 'rumour'"),
        ('active_mw = [1, 2]\nevidence = "datasheet"', r"\[low, value, high\]"),
    ],
)
def test_profile_is_refused_when_its_power_makes_no_sense(
    tmp_path: Path, table: str, message: str
) -> None:
    text = profile_text(dataclasses.replace(load_target("nrf52840-dk"), power=None), "mine")
    (tmp_path / "mine.toml").write_text(f"{text}\n[power]\n{table}\n")
    with pytest.raises(ProfileError, match=message):
        load_target("mine", (tmp_path,))

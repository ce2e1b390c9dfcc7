"""Prices of kernels: recovered where times are made of them, whatever disturbed some of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fit import Sample
from edgekiln.targets.fit_kernels import FamilySample, Source, cross_validated, fit_kernels, price
from edgekiln.targets.target import Tile
from edgekiln.targets.workload import LayerWork, Workload

TILE = Tile(7, 16, 8, 16)
SOURCE = Source("litert", "int8", TILE, Tier.T3, "here")
RUN_US, NS = 0.4, {"a_call": 50.0, "a_step": 4.0, "b_element": 0.3}


def model(rng: np.random.Generator, factor: float = 1.0) -> Sample:
    most = {"a_call": 20, "a_step": 900, "b_element": 9000}
    counts = {name: int(rng.integers(1, many)) for name, many in most.items()}
    layers = tuple(
        LayerWork(op, op, 0, 0, 0, loops=tuple((n, c) for n, c in counts.items() if n[0] == op))
        for op in ("a", "b")
    )
    time_us = RUN_US + sum(NS[name] * count for name, count in counts.items()) / 1e3
    return Sample(Workload(layers, "int8"), factor * time_us)


def models(count: int, factors: Sequence[float] = (1.0,), seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [model(rng, factors[index % len(factors)]) for index in range(count)]


def held(factors: dict[str, float], each: int = 6) -> list[FamilySample]:
    return [
        FamilySample(family, sample)
        for seed, (family, factor) in enumerate(factors.items(), 5)
        for sample in models(each, (factor,), seed)
    ]


def test_prices_are_recovered_when_times_are_made_of_them() -> None:
    found = price(models(40))
    assert found.per_run_us == pytest.approx(RUN_US, rel=1e-6)
    assert found.passes == pytest.approx(NS, rel=1e-6)


def test_prices_hardly_change_when_something_slows_every_sixth_model() -> None:
    found = price(models(120, (1.0, 1.0, 1.0, 1.0, 1.0, 1.45)))
    assert found.passes == pytest.approx(NS, rel=0.03)


def test_table_is_centred_on_the_families_and_bounded_by_what_the_others_say() -> None:
    """Families at 0.9, 1.0 and 1.2 of the probes; the middle of the other two judges each."""
    factors = {"low": 0.9, "middle": 1.0, "high": 1.2}
    table = fit_kernels(models(60), held(factors), SOURCE)
    assert table.per_run_us == pytest.approx(RUN_US, rel=1e-3)
    expected = sorted([0.9 / 1.1] * 6 + [1.0 / 1.05] * 6 + [1.2 / 0.95] * 6)
    assert table.heldout_ratios == pytest.approx(expected, rel=1e-3)
    assert (table.interval, table.tile, table.samples) == ("family-out", TILE, 60)
    assert table.low_ratio == pytest.approx(0.9 / 1.1, rel=1e-3)
    assert table.high_ratio == pytest.approx(1.2 / 0.95, rel=1e-3)


def test_prices_stand_under_the_operators_that_pass_them() -> None:
    table = fit_kernels(models(60), held({"one": 1.0, "two": 1.0}), SOURCE)
    assert {op: set(cost.loops) for op, cost in table.ops.items()} == {
        "a": {"a_call", "a_step"},
        "b": {"b_element"},
    }


def test_cross_validated_error_is_nothing_when_the_model_is_right() -> None:
    assert cross_validated(models(40)) == pytest.approx(0.0, abs=1e-6)
    assert cross_validated(models(40, (1.0, 1.3))) > 0.05


@pytest.mark.parametrize(
    ("samples", "networks", "said"),
    [
        (models(2), held({"one": 1.0, "two": 1.0}), "at least 3 timed models"),
        (models(9), held({"one": 1.0}, 12), "two or more"),
        (models(9), held({"one": 1.0, "two": 1.0}, 4), "8 held-out networks"),
        (models(9, (0.0,)), held({"one": 1.0, "two": 1.0}), "must be above 0"),
    ],
)
def test_fit_is_refused_when_too_little_was_measured(
    samples: list[Sample], networks: list[FamilySample], said: str
) -> None:
    with pytest.raises(MeasurementError, match=said):
        fit_kernels(samples, networks, SOURCE)


def test_network_is_refused_when_no_probe_passes_its_kernel() -> None:
    alien = Workload((LayerWork("a", "a", 0, 0, 0, loops=(("a_far", 3),)),), "int8")
    networks = [*held({"one": 1.0, "two": 1.0}), FamilySample("two", Sample(alien, 3.0))]
    with pytest.raises(MeasurementError, match="no probe passes 'a_far' of 'a'"):
        fit_kernels(models(9), networks, SOURCE)

"""Fitting: known tables come back, and the interval covers what it promises."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from edgekiln.targets import (
    CostTable,
    LayerWork,
    MeasurementError,
    OpCost,
    Sample,
    Tier,
    Workload,
    fit_cost_table,
)
from edgekiln.targets.conformal import ratio_interval
from edgekiln.targets.fit import leave_one_out_ratios, relative_nnls

OPS = ("add", "conv2d", "fully_connected")


def workloads(count: int, rng: np.random.Generator) -> list[Workload]:
    """Models of 1 to 8 layers whose sizes span three orders of magnitude."""
    made = []
    for _ in range(count):
        layers = []
        for index in range(rng.integers(1, 9)):
            op = OPS[rng.integers(len(OPS))]
            macs = 0 if op == "add" else int(10 ** rng.uniform(3, 6))
            outputs = int(10 ** rng.uniform(1, 4))
            layers.append(LayerWork(f"l{index}", op, macs, int(10 ** rng.uniform(2, 5)), outputs))
        made.append(Workload(tuple(layers), "int8"))
    return made


def time_us(table: CostTable, workload: Workload) -> float:
    total = table.per_run_us
    for layer in workload.layers:
        cost = table.ops[layer.op]
        total += cost.per_call_us
        total += (cost.ns_per_mac * layer.macs + cost.ns_per_byte * layer.bytes_moved) / 1e3
        total += cost.ns_per_output * layer.output_elements / 1e3
    return total


def known_table(costs: list[tuple[float, ...]], per_run_us: float) -> CostTable:
    ops = {op: OpCost(*cost) for op, cost in zip(OPS, costs, strict=True)}
    ops["add"] = dataclasses.replace(ops["add"], ns_per_mac=0.0)  # it has no MACs
    return CostTable(ops, "c", "int8", Tier.T2, "known", 1.0, 1.0, per_run_us)


KNOWN = known_table(
    [(0.5, 0.0, 2.0, 1.0), (2.0, 0.3, 0.1, 3.0), (1.0, 0.8, 0.4, 0.2)], per_run_us=4.0
)
cost = st.floats(0.01, 10.0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(cost, cost, cost, cost), min_size=3, max_size=3), cost, st.integers(0, 99)
)
def test_fit_recovers_a_known_table_when_there_is_no_noise(costs, per_run_us, seed) -> None:
    table = known_table(costs, per_run_us)
    samples = [Sample(w, time_us(table, w)) for w in workloads(40, np.random.default_rng(seed))]
    fitted = fit_cost_table(samples, "c", "int8", Tier.T2, "probes")
    for sample in samples:
        assert time_us(fitted, sample.workload) == pytest.approx(sample.time_us, rel=1e-5)
    assert (fitted.low_ratio, fitted.high_ratio) == pytest.approx((1.0, 1.0), abs=1e-4)
    assert fitted.heldout_median_ape == pytest.approx(0.0, abs=1e-4)
    assert (fitted.samples, fitted.tier, fitted.evidence_id) == (40, Tier.T2, "probes")
    assert fitted.engine == "c"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(20, 40))
def test_fitted_costs_are_never_negative(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    samples = [Sample(w, time_us(KNOWN, w) * rng.lognormal(0, 0.5)) for w in workloads(count, rng)]
    try:
        table = fit_cost_table(samples, "c", "int8", Tier.T3, "noise")
    except MeasurementError:  # so much noise may leave a sample that the others give no price
        reject()
    coefficients = [x for c in table.ops.values() for x in dataclasses.astuple(c)[:-1]]
    assert min(*coefficients, table.per_run_us) >= 0
    assert 0 < table.low_ratio <= 1 <= table.high_ratio < math.inf


@pytest.mark.slow
def test_upper_bound_covers_about_nine_in_ten_unseen_models() -> None:
    rng = np.random.default_rng(7)
    above, below, total = 0, 0, 0
    for _ in range(60):
        models = workloads(64, rng)
        times = [time_us(KNOWN, w) * rng.lognormal(0, 0.15) for w in models]
        samples = [Sample(w, t) for w, t in zip(models, times, strict=True)]
        table = fit_cost_table(samples[:24], "c", "int8", Tier.T3, "simulated")
        for sample in samples[24:]:
            ratio = sample.time_us / time_us(table, sample.workload)
            above += ratio > table.high_ratio
            below += ratio < table.low_ratio
            total += 1
    assert 0.86 <= 1 - above / total <= 0.96
    assert 0.86 <= 1 - below / total <= 0.96


@pytest.mark.parametrize("count", [9, 10, 25, 99])
def test_ratio_bound_is_the_conformal_order_statistic_when_there_are_enough(count: int) -> None:
    ratios = np.exp(np.linspace(-0.5, 0.5, count))
    low, high = ratio_interval(ratios)
    rank = math.ceil(0.9 * (count + 1))
    assert high == pytest.approx(ratios[rank - 1])
    assert low == pytest.approx(ratios[count - rank])


def test_ratio_bound_is_wider_than_the_extremes_when_there_are_few() -> None:
    ratios = np.array([0.8, 1.0, 1.3])
    low, high = ratio_interval(ratios)
    assert high > 1.3
    assert low < 0.8


def test_small_ratio_bounds_keep_their_coverage() -> None:
    rng = np.random.default_rng(3)
    draws = np.exp(rng.normal(0, 0.3, (2000, 6)))
    covered = [row[-1] <= ratio_interval(row[:-1])[1] for row in draws]
    assert np.mean(covered) >= 0.89


def test_ratio_interval_always_holds_one() -> None:
    assert ratio_interval(np.full(20, 1.5))[0] == 1.0
    assert ratio_interval(np.full(20, 0.5))[1] == 1.0


def test_small_and_large_models_weigh_the_same() -> None:
    design = np.array([[1.0], [1000.0]])
    (coefficient,) = relative_nnls(design, np.array([1.0, 2000.0]))
    # minimises (c - 1)² + (c/2 - 1)²; absolute error would give almost exactly 2
    assert coefficient == pytest.approx(1.2)


def test_fit_is_an_error_when_a_model_cannot_be_predicted_from_the_others() -> None:
    design = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(MeasurementError, match="sample 2 cannot be predicted"):
        leave_one_out_ratios(design, np.ones(3))


def _sample(op: str = "conv2d", time: float = 1.0, dtype: str = "int8", macs: int = 10) -> Sample:
    return Sample(Workload((LayerWork("x", op, macs, 10, 1),), dtype), time)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([_sample()] * 2, "at least 3 timed models, there are 2"),
        ([_sample()] * 3 + [_sample(dtype="float32")], "sample 3 is float32"),
        ([_sample()] * 3 + [_sample(time=0.0)], "sample 3 took 0.0"),
        ([_sample()] * 3 + [_sample(time=float("nan"))], "sample 3 took nan"),
        ([_sample()] * 3 + [_sample("add")], "operator 'add' is in one sample only"),
    ],
)
def test_fit_is_an_error_that_says_why_when_samples_cannot_carry_it(samples, message) -> None:
    with pytest.raises(MeasurementError, match=message):
        fit_cost_table(samples, "c", "int8", Tier.T3, "x")

"""A device from few models: known costs come back, and the rule that made the times is found."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.targets import LayerWork, MeasurementError, Workload
from edgekiln.targets.fewshot import fit_few_shot, robust_nnls
from edgekiln.targets.fewshot_table import few_shot_table
from edgekiln.targets.fit import relative_nnls

COSTS = np.array([3.0, 0.5, 2.0, 0.0])


def views(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """The same models with and without the parts that an engine may drop."""
    raw = np.c_[np.ones(count), rng.integers(0, 6, (count, 3))].astype(float)
    pruned = raw.copy()
    pruned[:, 1:] = np.maximum(0, raw[:, 1:] - rng.integers(0, 4, (count, 3)))
    return {"raw": raw, "pruned": pruned}


@pytest.mark.parametrize("rule", ["raw", "pruned"])
def test_rule_that_made_the_times_is_trusted_when_models_tell_them_apart(rule: str) -> None:
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        known = views(rng, 200)
        times = known[rule] @ COSTS * rng.lognormal(0, 0.05, 200)
        fitted = fit_few_shot({name: view[:12] for name, view in known.items()}, times[:12])
        error = np.abs(fitted.predict(known)[12:] / times[12:] - 1)
        found.append(fitted.best.rule == rule and np.median(error) < 0.12)
        assert sum(fit.share for fit in fitted.rules) == pytest.approx(1.0)
    assert sum(found) >= 4


def test_wild_times_move_a_fit_far_less_than_plain_least_squares() -> None:
    robust, plain = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        design = views(rng, 20)["raw"]
        truth = design @ COSTS
        times = truth.copy()
        times[:2] *= (0.1, 10.0)
        for errors, solve in ((robust, robust_nnls), (plain, relative_nnls)):
            errors.append(float(np.mean(np.abs(design @ solve(design, times) / truth - 1))))
    assert np.median(robust) < 0.1
    assert np.median(plain) > 0.3


def test_costs_are_never_negative() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        assert (robust_nnls(rng.random((8, 5)), rng.random(8) + 0.1) >= 0).all()


def test_interval_holds_most_new_models_when_noise_is_the_same() -> None:
    inside, total = 0, 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        known = views(rng, 120)
        times = known["raw"] @ COSTS * rng.lognormal(0, 0.2, 120)
        fitted = fit_few_shot({"raw": known["raw"][:20]}, times[:20])
        inside += int((times[20:] <= fitted.predict(known)[20:] * fitted.high_ratio).sum())
        total += 100
    assert 0.85 <= inside / total <= 0.98


@pytest.mark.parametrize(
    ("times", "message"),
    [([1.0] * 4, "at least 5, there are 4"), ([1.0, 1.0, 0.0, 1.0, 1.0], "not above 0")],
)
def test_fit_is_an_error_when_times_cannot_carry_it(times: list[float], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        fit_few_shot({"raw": np.ones((len(times), 1))}, np.array(times))


def work(rng: np.random.Generator, dtype: str = "int8") -> Workload:
    layers = [
        LayerWork("c", "conv2d", int(rng.integers(1e4, 1e6)), int(rng.integers(1e3, 1e5)), 9),
        LayerWork("d", "depthwise_conv2d", int(rng.integers(1e3, 1e5)), 999, 9),
        LayerWork("a", "add", 0, int(rng.integers(1e3, 1e5)), 9),
        LayerWork("r", "reshape", 0, int(rng.integers(1e3, 1e5)), 9),
    ]
    return Workload(tuple(layers[: int(rng.integers(2, 5))]), dtype)


def test_table_prices_operators_together_when_models_are_few() -> None:
    rng = np.random.default_rng(4)
    works = [work(rng) for _ in range(12)]
    actual = [_us(w) / 1e3 for w in works]
    table, fitted = few_shot_table({"raw": works}, actual, ["conv2d", "add", "relu"], "c", "mine")
    assert table.ops["conv2d"].ns_per_mac == pytest.approx(0.2, rel=0.02)
    assert table.ops["relu"] == table.ops["add"]
    assert table.ops["add"].ns_per_byte == pytest.approx(0.5, rel=0.02)
    assert table.per_run_us == pytest.approx(40.0, rel=0.1)
    assert (table.samples, len(table.heldout_ratios)) == (12, 12)
    assert fitted.best.rule == "raw"


def _us(w: Workload) -> float:
    cost = {"conv2d": (0.2, 0.0), "depthwise_conv2d": (0.9, 0.0), "add": (0.0, 0.5)}
    total = 40.0
    for layer in w.layers:
        per_mac, per_byte = cost.get(layer.op, (0.0, 0.0))
        total += (per_mac * layer.macs + per_byte * layer.bytes_moved) / 1e3
        total += 3.0 if layer.op != "reshape" else 0.0
    return total


def test_table_is_an_error_when_models_are_of_two_dtypes() -> None:
    rng = np.random.default_rng(5)
    mixed = [work(rng), work(rng, "float32")]
    with pytest.raises(MeasurementError, match=r"one dtype.*float32, int8"):
        few_shot_table({"raw": mixed}, [1.0, 1.0], [], "c", "mine")

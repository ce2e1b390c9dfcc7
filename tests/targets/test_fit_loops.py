"""Loops of kernels: passes are priced one by one, and unknown ones are an error."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgekiln.targets import (
    LayerWork,
    MeasurementError,
    Tier,
    UnsupportedOperatorError,
    Workload,
    estimate_latency,
    load_target,
)
from edgekiln.targets.core_costs import core_table, files, instruction_table, timed_table
from edgekiln.targets.fit_loops import CountedCall, CountedModel, fit_loops, predicted

PER_PASS = {"gather": 7.0, "product": 3.0, "call": 40.0}


def model(rng: np.random.Generator, layers: int = 3) -> CountedModel:
    made = []
    for index in range(layers):
        loops = {
            "call": 1,
            "gather": int(rng.integers(0, 50)),
            "product": int(rng.integers(0, 900)),
        }
        work = LayerWork(f"l{index}", "conv2d", 0, 0, 0, loops=tuple(loops.items()))
        count = sum(PER_PASS[name] * passes for name, passes in loops.items())
        made.append(CountedCall((work,), int(count)))
    return CountedModel(tuple(made))


def models(seed: int, count: int) -> list[CountedModel]:
    rng = np.random.default_rng(seed)
    return [model(rng) for _ in range(count)]


def test_instructions_of_each_loop_come_back_when_layers_are_counted() -> None:
    table = fit_loops(models(0, 12), models(1, 9), "loops")
    assert table.ops["conv2d"].loops == pytest.approx(PER_PASS, rel=1e-5)
    assert (table.tier, table.interval, len(table.heldout_ratios)) == (Tier.T2, "split", 9)
    assert (table.low_ratio, table.high_ratio) == pytest.approx((1.0, 1.0), abs=1e-6)


def test_held_out_model_is_an_error_when_no_probe_passes_one_of_its_loops() -> None:
    table = fit_loops(models(0, 12), models(1, 9), "loops")
    work = LayerWork("x", "conv2d", 0, 0, 0, loops=(("other", 1),))
    with pytest.raises(MeasurementError, match="no probe passes the loop 'other' of 'conv2d'"):
        predicted(CountedModel((CountedCall((work,), 1),)), table.ops)


def test_time_is_instructions_times_cycles_over_the_clock() -> None:
    counted = fit_loops(models(0, 12), models(1, 9), "loops")
    table = timed_table(counted, 120_000_000, (1.2, 1.5, 1.7))
    target = dataclasses.replace(load_target("cortex-m4"), costs=(table,))
    unseen = model(np.random.default_rng(5))
    work = Workload(unseen.works, "int8")
    estimate = estimate_latency(target, work, "c")
    assert estimate.value == pytest.approx(unseen.instructions * 1.5 / 120e3, rel=1e-5)
    assert estimate.low == pytest.approx(estimate.value * 1.2 / 1.5, rel=1e-5)
    assert estimate.high == pytest.approx(estimate.value * 1.7 / 1.5, rel=1e-5)


@pytest.mark.parametrize(
    ("loops", "message"),
    [((), "its loops are unknown"), ((("other", 2),), "nothing prices its loop 'other'")],
)
def test_layer_is_an_error_when_its_loops_have_no_price(loops, message: str) -> None:
    target = load_target("cortex-m4")
    layer = LayerWork("first", "conv2d", 1000, 100, 10, loops=loops)
    with pytest.raises(UnsupportedOperatorError, match=rf"'conv2d' \(layer 'first'\); {message}"):
        estimate_latency(target, Workload((layer,), "int8"), "c")


def test_devices_of_one_core_share_its_instructions() -> None:
    slow = load_target("cortex-m4")
    fast = dataclasses.replace(slow, id="fast", core="cortex-m4", clock_hz=2 * slow.clock_hz)
    first, second = core_table(slow), core_table(fast)
    assert first is not None
    assert second is not None
    for op, cost in first.ops.items():
        halved = {name: ns / 2 for name, ns in cost.loops.items()}
        assert second.ops[op].loops == pytest.approx(halved, rel=1e-5)


def test_core_without_counted_instructions_has_no_table() -> None:
    target = load_target("cortex-m4")
    assert core_table(dataclasses.replace(target, core="riscv-unheard-of")) is None
    assert core_table(dataclasses.replace(target, cycles_per_instruction=None)) is None
    assert core_table(load_target("host")) is None


def test_shipped_instructions_are_held_to_networks_apart_from_the_fit() -> None:
    shipped = [path for path in files() if path.is_file()]
    assert shipped
    for path in shipped:
        table = instruction_table(path.stem)
        assert table is not None
        assert (table.engine, table.interval) == ("c", "split")
        assert len(table.heldout_ratios) >= 19  # a bound at 95 % can be told
        assert 0.9 < table.low_ratio <= 1 <= table.high_ratio < 1.1

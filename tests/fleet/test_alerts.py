from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgekiln.fleet.alerts import (
    ALPHA,
    QUIET_S,
    Baseline,
    Reporting,
    detect,
    distance,
    merge,
    summarise,
    threshold,
)
from edgekiln.runtime.protocol import FeatureWindow, Report

RELEASE = "r" * 64


def window(name: str, alarm: bool = False, bins: tuple[int, ...] = (4,) * 16) -> FeatureWindow:
    return FeatureWindow(name=name, bins=bins, evidence=1e6 if alarm else 1.0, alarm=alarm)


def device(name: str, *cohorts: str, alarm: bool = False, release: str = RELEASE) -> Reporting:
    shifted = (32, 32, *(0,) * 14) if alarm else (4,) * 16
    report = Report(
        boot_id="b",
        seq=1,
        bundle_id=release,
        start_s=0.0,
        end_s=1.0,
        samples=64,
        violations=0,
        latency_us=(64,),
        confidence=window("confidence"),
        classes=(32, 32),
        class_drift=window("classes", bins=(32, 32)),
        features=(window("x", alarm, shifted), window("y")),
    )
    return Reporting(name, cohorts, report)


def line(half: str, *alarms: bool) -> list[Reporting]:
    return [device(f"{half}{i}", "all", half, alarm=alarm) for i, alarm in enumerate(alarms)]


def test_half_a_fleet_alerts_for_its_own_cohort_and_for_no_other() -> None:
    (found,) = detect(
        [*line("a", *[False] * 4), *line("b", *[True] * 4)], {RELEASE: Baseline(1000)}
    )
    assert found.cohort == "b"
    assert found.devices == ("b0", "b1", "b2", "b3")
    assert found.quiet == ("a",)
    assert [f.feature for f in found.features] == ["x"]
    assert found.features[0].devices == 4
    assert found.features[0].samples == 256
    assert summarise(found).startswith("4 of 4 devices of b see other data")


def test_larger_cohort_does_not_alert_when_a_smaller_one_explains_it() -> None:
    fleet = [*line("a", *[False] * 2), *line("b", *[True] * 4)]  # two thirds of all
    assert [f.cohort for f in detect(fleet, {})] == ["b"]


def test_whole_fleet_alerts_once_when_everybody_drifts() -> None:
    assert [f.cohort for f in detect([*line("a", True, True), *line("b", True, True)], {})] == [
        "all"
    ]


def test_canaries_in_a_drifting_cohort_are_no_second_alert() -> None:
    fleet = [*line("a", *[False] * 4), *line("b", True, True)]
    fleet += [device(f"b{i}", "all", "b", alarm=True, release="new") for i in (2, 3)]
    assert [(f.cohort, f.release) for f in detect(fleet, {})] == [("b", RELEASE)]


def test_canaries_alone_name_the_cohort_that_they_share_with_the_fewest_others() -> None:
    fleet = [*line("a", *[False] * 4), *line("b", True)]
    fleet += [device(f"b{i}", "all", "b", alarm=True, release="new") for i in (1, 2)]
    assert [(f.cohort, f.release) for f in detect(fleet, {})] == [("b", "new")]


def test_two_causes_are_two_findings() -> None:
    fleet = [*line("a", True, True), *line("b", True, True), *line("c", *[False] * 6)]
    assert [f.cohort for f in detect(fleet, {})] == ["a", "b"]


@pytest.mark.parametrize(
    "alarms", [(True,), (True, False), (True, False, False), (True, True, False, False)]
)
def test_few_or_scattered_alarms_do_not_alert(alarms: tuple[bool, ...]) -> None:
    assert detect(line("a", *alarms), {}) == ()


def test_releases_are_judged_apart() -> None:
    fleet = [
        device("a0", "a", alarm=True, release="1" * 64),
        device("a1", "a", alarm=True, release="2" * 64),
    ]
    assert detect(fleet, {}) == ()


def test_fingerprint_stays_when_windows_change() -> None:
    one = detect(line("a", True, True, True), {})[0]
    two = detect(line("a", True, True, False), {})[0]
    assert one.fingerprint == two.fingerprint
    assert one.devices != two.devices


def test_alert_is_updated_while_open_and_new_after_a_quiet_time() -> None:
    finding = detect(line("a", True, True), {})[0]
    first = msgspec.structs.replace(merge(None, finding, 10.0), alert_id=7)
    again = merge(first, finding, 5000.0)
    assert (again.alert_id, again.opened_s, again.last_seen_s) == (7, 10.0, 5000.0)
    taken = msgspec.structs.replace(again, state="acknowledged")
    assert merge(taken, finding, 5000.0 + QUIET_S - 1).state == "acknowledged"
    fresh = merge(taken, finding, 5000.0 + QUIET_S)
    assert (fresh.alert_id, fresh.state, fresh.opened_s) == (0, "open", 5000.0 + QUIET_S)


def test_distance_is_total_variation() -> None:
    assert distance((5,) * 16) == 0.0
    assert distance((16, *(0,) * 15)) == pytest.approx(15 / 16)
    assert distance((0,) * 16) == 0.0


@pytest.mark.parametrize("samples", [20, 200, 5000])
def test_threshold_is_rarely_passed_when_nothing_drifts(samples: int) -> None:
    rng = np.random.default_rng(samples)
    draws = rng.multinomial(samples, [1 / 16] * 16, size=4000)
    limit = threshold(samples, 0, features=1)
    assert np.mean([distance(tuple(map(int, d))) >= limit for d in draws]) <= ALPHA


def test_threshold_is_rarely_passed_when_the_reference_is_a_sample_too() -> None:
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(1000):
        edges = np.quantile(rng.random(300), np.arange(1, 16) / 16)
        bins = np.bincount(np.searchsorted(edges, rng.random(400)), minlength=16)
        passed += distance(tuple(map(int, bins))) >= threshold(400, 300, features=1)
    assert passed / 1000 <= ALPHA


def test_threshold_falls_with_samples_and_is_passed_by_real_drift() -> None:
    limits = [threshold(n, 1000, 64) for n in (10, 100, 1000, 100_000)]
    assert limits == sorted(limits, reverse=True)
    assert threshold(0, 1000, 64) == 1.0
    (found,) = detect(line("b", True, True, True, True), {RELEASE: Baseline(5000)})
    assert found.features[0].distance > found.features[0].threshold


def test_classes_are_compared_with_the_models_own_shares_when_they_drift() -> None:
    drifting = FeatureWindow(name="classes", bins=(90, 10, 0), evidence=1e6, alarm=True)
    fleet = [
        Reporting(
            item.device,
            item.cohorts,
            msgspec.structs.replace(item.report, classes=(90, 10, 0), class_drift=drifting),
        )
        for item in line("b", False, False)
    ]
    (found,) = detect(fleet, {RELEASE: Baseline(1000, (0.2, 0.3, 0.5))})
    (feature,) = found.features
    assert feature.feature == "classes"
    assert feature.distance == pytest.approx(0.7)
    assert feature.samples == 200

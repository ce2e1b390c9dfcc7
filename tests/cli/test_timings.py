"""Timing a bundle through the real command line: a number, or the reasons why there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TIMED = ("good.ekb", "--target", "host", "--budget-s", "1", "--json")


def check_verdict(found: dict, code: int, err: str, tier: str) -> None:
    """A machine may be quiet or busy: what is said must follow from what was seen either way."""
    timing = found["timing"]
    assert 0 < timing["median_low_us"] <= timing["median_us"] <= timing["median_high_us"]
    assert timing["runs"] >= 50
    if timing["refusals"]:
        assert (code, found["latency"]) == (1, None)
        assert all(reason in err for reason in timing["refusals"])
    else:
        assert (code, found["latency"]["tier"]) == (0, tier)
        assert found["latency"]["value"] == pytest.approx(timing["median_us"] / 1e3)
    assert "Traceback" not in err


def test_host_timing_is_certified_or_refused_with_reasons(
    built: Path, cli: Callable[..., object]
) -> None:
    ran = cli(("targets", "measure", *TIMED), built)
    (found,) = json.loads(ran.out)["measured"]
    assert (found["target"], found["format"], found["engine"]) == ("host", "tflite", "litert")
    check_verdict(found, ran.code, ran.err, "T3")


def test_device_timing_names_the_bundle_it_is_of(built: Path, cli: Callable[..., object]) -> None:
    from edgekiln.runtime import open_bundle

    ran = cli(("device", "measure", *TIMED), built)
    found = json.loads(ran.out)
    bundle = open_bundle(built / "good.ekb")
    assert found["bundle_id"] == bundle.bundle_id
    assert found["artifact_sha256"] == bundle.artifact("host").sha256
    check_verdict(found, ran.code, ran.err, "T4")

"""Which network the demo's devices leave the factory with, whatever a machine's training gave."""

from __future__ import annotations

import pytest

from edgekiln.cli.demo.model_stages import BUDGETS, FORMATS, factory_member
from edgekiln.search.result import BASELINE_ID, LONG, FrontMember
from edgekiln.targets import Estimate, Footprint, Tier, load_target


def member(name: str, accuracy: float, latency_ms: float) -> FrontMember:
    latency, ram, flash = (
        Estimate(value, value, value, unit, Tier.T1, "made-up")
        for value, unit in ((latency_ms, "ms"), (100.0, "bytes"), (1000.0, "bytes"))
    )
    return FrontMember(name, accuracy, LONG, Footprint(latency, ram, flash), f"{name}.pt2")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            [("best", 0.98, 4.0), ("good", 0.95, 3.0), ("cheap", 0.91, 2.0), ("poor", 0.5, 1.0)],
            "cheap",
        ),
        ([("best", 0.98, 4.0), (BASELINE_ID, 0.95, 1.0), ("good", 0.94, 3.0)], "good"),
        ([("best", 0.98, 4.0), ("poor", 0.5, 1.0)], "best"),
        ([("best", 0.98, 4.0), (BASELINE_ID, 0.95, 1.0), ("poor", 0.5, 0.5)], "best"),
        ([("best", 0.98, 4.0)], "best"),
    ],
)
def test_factory_member_is_decent_when_the_front_is_any(
    members: list[tuple[str, float, float]], expected: str
) -> None:
    front = [member(*fields) for fields in members]
    assert factory_member(front, "best").candidate_id == expected


def test_formats_hold_the_one_that_the_search_prices_when_a_target_is_compiled_for() -> None:
    assert set(FORMATS) == set(BUDGETS)
    for target_id, formats in FORMATS.items():
        assert formats[0] == load_target(target_id).formats[0]

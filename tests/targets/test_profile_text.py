"""Profiles that are written read back as what they were."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.targets import (
    Budget,
    CostTable,
    Evidence,
    OpCost,
    ProfileError,
    Target,
    Tier,
    list_targets,
    load_target,
    profile_text,
    read_profile,
)
from edgekiln.targets.target import Tile

CORTEX_M4 = load_target("cortex-m4")
PRINTABLE = st.characters(exclude_categories=("Cs",))


def written(folder: Path, target: Target, name: str) -> Target:
    path = folder / f"{name}.toml"
    path.write_text(profile_text(target, name), encoding="utf-8")
    return dataclasses.replace(read_profile(path), digest=target.digest)


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.id)
def test_shipped_profile_reads_back_equal_when_written(tmp_path: Path, target: Target) -> None:
    assert written(tmp_path, target, target.id) == target


def test_profile_takes_the_name_of_its_file_when_written(tmp_path: Path) -> None:
    target = load_target("host")
    assert written(tmp_path, target, "my-board") == dataclasses.replace(target, id="my-board")


@given(title=st.text(PRINTABLE), source=st.text(PRINTABLE), limit=st.floats(1e-9, 1e9))
def test_any_text_and_budget_read_back_when_written(
    tmp_path_factory: pytest.TempPathFactory, title: str, source: str, limit: float
) -> None:
    target = dataclasses.replace(
        load_target("host"),
        title=title,
        budget=Budget(latency_ms=limit, ram_bytes=7),
        evidence=(Evidence("note", Tier.T3, source, note=title),),
    )
    assert written(tmp_path_factory.getbasetemp(), target, "host") == target


@given(st.floats(1e-12, 1e12))
def test_costs_keep_six_digits_when_written(
    tmp_path_factory: pytest.TempPathFactory, figure: float
) -> None:
    target = CORTEX_M4
    first = target.costs[0]
    cost = dataclasses.replace(first.ops["add"], ns_per_output=figure)
    table = dataclasses.replace(first, ops={"add": cost})
    again = written(
        tmp_path_factory.getbasetemp(), dataclasses.replace(target, costs=(table,)), "cortex-m4"
    )
    assert again.costs[0].ops["add"].ns_per_output == pytest.approx(figure, rel=1e-5)


def test_profile_is_refused_when_a_figure_is_not_finite() -> None:
    target = dataclasses.replace(load_target("host"), budget=Budget(latency_ms=float("inf")))
    with pytest.raises(ProfileError, match="cannot hold the figure inf"):
        profile_text(target, "host")


def test_tile_is_read_back_when_a_profile_is_written(tmp_path: Path) -> None:
    tile = Tile(rows=7, columns=16, depth=8, lanes=16, aligned=4)
    cost = OpCost(0.0, 0.0, 0.0, loops={"add_call": 40.0, "add_line": 7.5})
    table = CostTable({"add": cost}, "litert", "int8", Tier.T3, "here", 0.9, 1.1, tile=tile)
    evidence = Evidence("here", Tier.T3, "timed")
    target = dataclasses.replace(load_target("host"), costs=(table,), evidence=(evidence,))
    path = tmp_path / "host.toml"
    path.write_text(profile_text(target, "host"), "utf-8")
    assert read_profile(path).costs == (table,)
    path.write_text(path.read_text("utf-8").replace("rows = 7", "rows = 0"), "utf-8")
    with pytest.raises(ProfileError, match="every figure of tile must be 1 or more"):
        read_profile(path)

"""Published results: the shipped snapshot is what the fit finds, and it beats counting MACs."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekiln.targets import LayerWork, Tier, Workload, estimate_latency, load_target
from edgekiln.targets.published import FILE, published_table

ROOT = Path(__file__).resolve().parents[2]
WORK = Workload((LayerWork("a", "conv2d", 10**6, 1000, 100),), "int8")


def board(core: str, clock_hz: int = 100_000_000) -> object:
    return dataclasses.replace(load_target("cortex-m4"), core=core, clock_hz=clock_hz, costs=())


def test_engine_is_priced_on_a_board_whose_profile_has_no_table_of_it() -> None:
    estimate = estimate_latency(board("cortex-m33"), WORK, "tflm")
    assert (estimate.tier, estimate.evidence_id) == (Tier.T1, "published-boards")
    assert estimate.low < estimate.value < estimate.high


def test_time_halves_when_the_clock_doubles() -> None:
    slow, fast = (
        estimate_latency(board("cortex-m4", mhz * 10**6), WORK, "tflm") for mhz in (80, 160)
    )
    assert slow.value == pytest.approx(2 * fast.value)


def test_core_without_multiply_accumulate_pairs_is_slower() -> None:
    small, large = (
        estimate_latency(board(c), WORK, "tflm") for c in ("cortex-m0plus", "cortex-m4f")
    )
    assert small.value > 1.5 * large.value


@pytest.mark.parametrize(
    ("core", "engine", "dtype"),
    [
        ("cortex-m85", "tflm", "int8"),
        ("cortex-m4", "litert", "int8"),
        ("cortex-m4", "tflm", "float32"),
    ],
)
def test_there_is_no_table_when_nothing_was_published(core: str, engine: str, dtype: str) -> None:
    assert published_table(board(core), engine, dtype) is None


def test_table_of_the_profile_comes_before_published_ones() -> None:
    assert estimate_latency(load_target("cortex-m4"), WORK, "tflm").evidence_id == "mlperf-tiny"


@pytest.mark.slow
def test_shipped_snapshot_is_what_the_command_prints(data_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fit_published"],
        cwd=ROOT,
        env={**os.environ, "EDGEKILN_DATA": str(data_dir)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == FILE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_error_on_left_out_boards_is_half_that_of_macs_alone(data_dir: Path) -> None:
    from benchmarks.fit_published import (
        leave_boards_out,
        macs_alone,
        macs_and_clock,
        median_error,
        published_rows,
    )

    rows = published_rows(data_dir)
    ours = median_error(leave_boards_out(rows))
    for baseline in (macs_alone, macs_and_clock):
        assert ours <= 0.5 * median_error(leave_boards_out(rows, baseline))

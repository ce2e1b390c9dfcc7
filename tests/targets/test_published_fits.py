"""The catalog's T1 tables are what `benchmarks.fit_profiles` prints, number for number."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.fit_cycles import (
    TIMINGS,
    executed,
    mean_cycles,
    micronets_ratios,
    published_ratios,
    scaled,
)
from edgekiln.targets.core import read_core
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.profiles import BUILTIN_FOLDER

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def printed(data_dir: Path) -> dict[str, list[dict[str, object]]]:
    """Cost tables by target, as the script prints them."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fit_profiles"],
        cwd=ROOT,
        env={**os.environ, "EDGEKILN_DATA": str(data_dir)},
        check=True,
        capture_output=True,
        text=True,
    )
    tables: dict[str, list[dict[str, object]]] = {}
    for block in done.stdout.split("# targets/catalog/")[1:]:
        name, _, text = block.partition(".toml\n")
        tables.setdefault(name, []).extend(tomllib.loads(text)["costs"])
    return tables


@pytest.mark.slow
@pytest.mark.parametrize("target_id", ["cortex-m4", "raspberry-pi-4"])
def test_catalog_holds_the_fitted_numbers(target_id: str, printed) -> None:
    profile = tomllib.loads((BUILTIN_FOLDER / f"{target_id}.toml").read_text(encoding="utf-8"))
    published = [table for table in profile["costs"] if table["tier"] == "T1"]
    assert published == printed[target_id]


def test_cores_state_the_cycles_of_published_ratios(data_dir: Path) -> None:
    m4 = read_core("cortex-m4f").file.cycles_per_instruction
    assert m4 is not None
    rows = data_dir / "latency" / "mlperf_tiny_published.csv"
    for name, ratios in (
        ("cortex-m33", published_ratios(rows)),
        ("cortex-m7", micronets_ratios()),
    ):
        stated = read_core(name).file.cycles_per_instruction
        assert stated == pytest.approx(scaled(name, m4, ratios), abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m3", "cortex-m4f"])
def test_cycles_of_a_model_lie_in_what_its_core_states(
    core: str, data_dir: Path, require_tool: Callable[[str], str]
) -> None:
    for tool in TOOLS:
        require_tool(tool)
    ran = list(executed(data_dir / "mlperf_tiny" / "ad_fc_int8.tflite", core))
    _, value, _ = mean_cycles(ran, TIMINGS[core])
    stated = read_core(core).file.cycles_per_instruction
    assert stated is not None
    # Another compiler gives another mix of instructions.
    assert stated[0] - 0.1 <= value <= stated[2] + 0.1

"""The catalog's T1 tables are what `benchmarks.fit_profiles` prints, number for number."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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

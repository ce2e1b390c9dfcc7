"""The wheel holds the whole tree, and the rooms keep their names and weights."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("targets", "runtime", "compiler", "search", "fleet", "cli")


def _sources() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def test_package_list_equals_tree_when_packages_are_added() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    in_tree = {
        "edgekiln." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in _sources()
        if path.name == "__init__.py"
    }
    assert set(settings["packages"]) == in_tree


def test_every_python_file_is_in_a_package() -> None:
    assert [path for path in _sources() if not (path.parent / "__init__.py").exists()] == []


def test_no_file_imports_a_room_without_the_namespace() -> None:
    bare = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(ROOMS)})(?:[. ]|$)", re.MULTILINE)
    files = [*_sources(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert [str(path) for path in files if bare.search(path.read_text())] == []


def test_every_source_file_stays_small_enough_to_read() -> None:
    assert [str(p) for p in _sources() if len(p.read_text().splitlines()) > 400] == []


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("edgekiln.runtime", ("torch", "onnx", "sklearn", "sqlalchemy", "tensorflow", "scipy")),
        ("edgekiln.runtime.model", ("torch", "onnx", "sklearn", "sqlalchemy", "scipy")),
        ("edgekiln.runtime.device", ("torch", "onnx", "sklearn", "sqlalchemy", "litestar")),
        ("edgekiln.targets", ("torch", "onnx", "sklearn", "sqlalchemy", "scipy")),
        ("edgekiln.cli.main", ("torch", "numpy", "sqlalchemy", "litestar", "msgspec", "rich")),
    ],
)
def test_import_loads_no_heavy_module_when_a_room_is_imported(
    module: str, forbidden: tuple[str, ...]
) -> None:
    code = f"import sys, {module}; print([m for m in {forbidden!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_help_needs_little_cpu() -> None:
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run([sys.executable, '-m', 'edgekiln.cli', '--help'], check=True,"
        " stdout=subprocess.DEVNULL);"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.3

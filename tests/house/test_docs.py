"""The documents stay true: every function they name exists, and what they show runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))

# `room/file.py: Name.method`, as the table of steps writes it
NAMED = re.findall(r"`((?:\w+/)+\w+\.py): ([\w.]+)`", ARCHITECTURE)


def _names(tree: ast.AST, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            found |= {prefix + node.name} | _names(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {prefix + t.id for t in targets if isinstance(t, ast.Name)}
    return found


def test_architecture_names_enough_functions_to_find_every_step() -> None:
    assert len(NAMED) > 25


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[f"{f}:{n}" for f, n in NAMED])
def test_function_exists_when_the_architecture_names_it(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in _names(tree)


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_page_names_only_files_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(
        r"`((?:targets|runtime|compiler|search|fleet|cli|docs|tests|benchmarks)/[\w./-]+)`", text
    )
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_page_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_make_targets_exist_when_the_readme_names_them() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.slow
def test_python_example_runs_as_the_readme_shows_it(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    make_bundle = """
from pathlib import Path
from sklearn.linear_model import LogisticRegression
from edgekiln.compiler.data import load_dataset
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.probes import calibrate
from edgekiln.compiler.request import CompileRequest, TargetRequest
from edgekiln.targets import load_target
data = load_dataset("sklearn:digits")
x = data.contract.preprocess(data.x[data.train]).reshape(len(data.train), -1)
model = LogisticRegression(max_iter=300).fit(x, data.y[data.train])
host = calibrate(load_target("host"))
request = CompileRequest("digits", model, data, (TargetRequest(host),))
compile_model(request).write(Path("digits.ekb"))
"""
    for code in (make_bundle, example):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2

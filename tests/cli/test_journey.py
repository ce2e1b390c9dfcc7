"""A user's first hour with data of their own: the commands of the README, one after another."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CLI = (sys.executable, "-m", "edgekiln.cli")
# Options that make the README's lines quick; everything else is as written there.
QUICKER = {
    "search": ("--candidates", "12"),
    "device run": ("--window-s", "1", "--rate-hz", "50"),
    "fleet rollout start": ("--soak-s", "1", "--wait-s", "90"),
}
LONG_RUNNING = ("fleet serve", "device run")


def commands_of_the_readme() -> list[tuple[str, ...]]:
    """The lines of the section `Your own data`, as arguments of `edgekiln`."""
    section = (ROOT / "README.md").read_text().split("## Your own data")[1]
    block = section.split("```sh")[1].split("```")[0]
    lines = (line.partition("#")[0].strip() for line in block.splitlines())
    parts = (part.split() for line in lines if line for part in line.split("&&"))
    commands = []
    for words in parts:
        assert words[0] == "edgekiln"
        commands.append(tuple(words[1:]))
    return commands


def quick(command: tuple[str, ...]) -> tuple[str, ...]:
    text = " ".join(command)
    extra = next((more for start, more in QUICKER.items() if text.startswith(start)), ())
    return (*command, *extra, "--json")


@contextmanager
def running(command: tuple[str, ...], folder: Path) -> Iterator[dict]:
    """A command that runs until it is told to end; gives the document that it prints when ready."""
    with subprocess.Popen(
        (*CLI, *quick(command)), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout is not None
            text = b""
            while not text.rstrip().endswith(b"}"):
                line = child.stdout.readline()
                assert line, child.stderr.read().decode() if child.stderr else ""
                text += line
            yield json.loads(text)
        finally:
            child.terminate()
            _, err = child.communicate(timeout=30)
        assert child.returncode == 0, err.decode()
        assert b"Traceback" not in err


@pytest.fixture
def project(tmp_path: Path) -> Path:
    from sklearn.datasets import load_wine

    wine = load_wine()
    np.savez(tmp_path / "samples.npz", x=wine.data.astype(np.float32), y=wine.target)
    return tmp_path


def test_readme_names_every_step_of_the_loop() -> None:
    text = "\n".join(" ".join(command) for command in commands_of_the_readme())
    for step in ("init", "search", "compile", "verify", "release", "enroll", "serve", "rollout"):
        assert re.search(rf"\b{step}\b", text), step


@pytest.mark.slow
def test_readme_works_line_by_line_on_data_of_ones_own(project: Path, cli) -> None:
    from contextlib import ExitStack

    said: dict[str, dict] = {}
    with ExitStack() as children:
        for command in commands_of_the_readme():
            name = " ".join(command)
            if name.startswith(LONG_RUNNING):
                said[name] = children.enter_context(running(command, project))
                continue
            ran = cli(quick(command), project, timeout_s=280)
            assert ran.code == 0, f"{name}: {ran.err}"
            said[name] = json.loads(ran.out)
        released = _one(said, "release")["bundle_id"]
        assert _one(said, "compile")["bundle_id"] == released
        assert _one(said, "inspect")
        assert all(row["passed"] for row in _one(said, "verify")["rows"])
        assert _one(said, "device run") == {"device": "sensor-1", "running": released}
        assert _one(said, "fleet rollout start")["rollout"]["state"] == "DONE"
        _see_the_fleet(project, cli, released)
    assert not (project / "fleet" / "server.json").exists()


def _see_the_fleet(project: Path, cli: Callable, released: str) -> None:
    deadline = time.monotonic() + 60
    while True:  # until a first window has arrived
        devices = _json(cli, project, "fleet", "devices")["devices"]
        (device,) = (found for found in devices if found["device"] == "sensor-1")
        if device["samples"] > 0:
            break
        assert time.monotonic() < deadline
    assert device["online"]
    assert device["running"] == released
    assert _json(cli, project, "fleet", "alerts")["alerts"] == []
    assert [r["aliases"] for r in _json(cli, project, "fleet", "releases")["releases"]] == [
        ["prod"]
    ]
    (rollout,) = _json(cli, project, "fleet", "rollout", "list")["rollouts"]
    shown = _json(cli, project, "fleet", "rollout", "show", rollout["rollout_id"])
    assert shown["events"]
    for mistake, says in (
        (("fleet", "rollout", "start", "nothing"), "nothing"),
        (("fleet", "rollout", "show", "nothing"), "nothing"),
        (("fleet", "rollout", "abort", "nothing", "--reason", "a test"), "nothing"),
        (("fleet", "alerts", "ack", "99"), "99"),
        (("fleet", "rollout", "start", "prod", "--cohort", "nobody"), "nobody"),
        (("fleet", "serve", "fleet"), "another server runs"),
        (("device", "run", "sensor-1", "--source", "samples.npz"), "already runs"),
    ):
        ran = cli(mistake, project)
        assert ran.code == 2, (mistake, ran.err)
        assert says in ran.err, mistake
        assert len(ran.err.splitlines()) == 1, ran.err


def _one(said: dict[str, dict], start: str) -> dict:
    return next(document for name, document in said.items() if name.startswith(start))


def _json(cli: Callable, folder: Path, *arguments: str) -> dict:
    ran = cli((*arguments, "--json"), folder)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)

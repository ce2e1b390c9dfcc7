"""What a user is told of generated C: the same by compile and by measure, in real processes.

One model goes through compile, verify, export in every layout, and measure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekiln.cli.export import LAYOUTS
from edgekiln.targets.emulate import TOOLS
from edgekiln.targets.profile_text import profile_text
from edgekiln.targets.profiles import load_target

FIGURES = {
    *("instructions", "cycles_estimated", "arena_bytes", "scratch_bytes", "stack_bytes"),
    *("ram_total_bytes", "code_bytes", "weight_bytes", "lower_bound_arena_bytes"),
    *("per_layer", "bit_exact"),
}
PLACE = {"target", "format", "path", "bytes", "sha256"}
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional model, its data, and a core that nothing emulates."""
    import dataclasses

    import torch

    folder = tmp_path_factory.mktemp("c")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(144, 3),
    )
    x = np.random.default_rng(0).normal(0, 1, (200, 6, 6, 1)).astype(np.float32)
    with torch.no_grad():
        y = net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).argmax(1).numpy()
    assert set(y.tolist()) == {0, 1, 2}
    np.savez(folder / "samples.npz", x=x, y=y)
    torch.export.save(torch.export.export(net.eval(), (torch.zeros(1, 1, 6, 6),)), folder / "m.pt2")
    strange = dataclasses.replace(load_target("cortex-m4"), core="xtensa-lx6")
    (folder / "profiles").mkdir()
    (folder / "profiles" / "strange.toml").write_text(profile_text(strange, "strange"))
    (folder / "edgekiln.toml").write_text('profiles = ["profiles"]\n')
    return folder


@pytest.fixture(scope="module")
def document(folder: Path, cli: Cli, require_tool: Callable[[str], str]) -> dict[str, Any]:
    for tool in TOOLS:
        require_tool(tool)
    targets = ("--target", "cortex-m4", "--target", "strange")
    data = ("--data", "samples.npz", "--format", "c")
    ran = cli(("compile", "m.pt2", *targets, *data, "-o", "m.ekb", "--json"), folder)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.fixture(scope="module")
def measured(folder: Path, cli: Cli, document: dict[str, Any]) -> dict[str, Any]:
    ran = cli(("targets", "measure", "m.ekb", "--target", "cortex-m4", "--json"), folder)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.mark.slow
def test_compile_tells_every_figure_when_the_core_is_emulated(document: dict[str, Any]) -> None:
    found, _ = document["artifacts"]
    assert set(found) == FIGURES | PLACE
    assert set(found["cycles_estimated"]) == {"value", "low", "high", "tier"}
    assert found["cycles_estimated"]["tier"] == "T2"
    assert found["bit_exact"] == {"samples": 20, "mismatches": 0}
    assert None not in found.values()
    assert sum(row["instructions"] for row in found["per_layer"]) == found["instructions"]
    assert found["scratch_bytes"] <= found["arena_bytes"] < found["ram_total_bytes"]
    assert found["lower_bound_arena_bytes"] <= found["arena_bytes"]
    gated = {check["quantity"]: check["found"] for check in document["gate"]["checks"]}
    assert gated["cortex-m4/c RAM"] == found["ram_total_bytes"]
    assert gated["cortex-m4/c flash"] == found["code_bytes"] + found["weight_bytes"]


@pytest.mark.slow
def test_measure_tells_the_figures_of_the_compile_when_it_gets_the_bundle(
    document: dict[str, Any], measured: dict[str, Any]
) -> None:
    found, _ = document["artifacts"]
    assert {name: measured[name] for name in FIGURES} == {name: found[name] for name in FIGURES}


@pytest.mark.slow
def test_figures_are_null_with_a_reason_when_nothing_emulates_the_core(
    document: dict[str, Any],
) -> None:
    _, found = document["artifacts"]
    planned = {"arena_bytes", "scratch_bytes", "weight_bytes", "lower_bound_arena_bytes"}
    assert set(found) == FIGURES | PLACE
    assert {name for name in FIGURES if found[name] is None} == FIGURES - planned
    (note,) = (note for note in document["notes"] if note.startswith("strange/c: not emulated"))
    assert "core 'xtensa-lx6' has no emulated board" in note
    checks = (c["message"] for c in document["gate"]["checks"] if c["quantity"] == "strange/c RAM")
    assert "estimated T0" in next(checks)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_measure_takes_every_layout_when_it_was_exported(
    layout: str, folder: Path, cli: Cli, measured: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / layout
    options = ("--target", "cortex-m4", "--layout", layout, "-o", str(out))
    assert cli(("export", "m.ekb", *options), folder).code == 0
    (out / "build").mkdir()
    (out / "build" / "probe.c").write_text("#error what a build leaves is not the model\n")
    ran = cli(("targets", "measure", str(out), "--target", "cortex-m4", "--json"), folder)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == measured


@pytest.mark.slow
def test_verify_runs_host_and_core_again_when_the_bundle_has_c(
    folder: Path, cli: Cli, document: dict[str, Any]
) -> None:
    recorded = {
        (row["engine"], row["target"]): (row["samples"], row["mismatches"])
        for row in document["parity"]["engines"]
    }
    assert recorded["c-host", ""] == (41, 0)  # all of a small validation split
    assert recorded["c-emulated", "cortex-m4"] == (20, 0)
    ran = cli(("verify", "m.ekb", "--json"), folder)
    assert ran.code == 0, ran.err
    rows = {
        (row["engine"], row["target"]): row["mismatches"] for row in json.loads(ran.out)["rows"]
    }
    assert rows["c-host", "cortex-m4"] == rows["c-emulated", "cortex-m4"] == 0

"""Small real bundles, and messages as a device would send them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.runtime.bundle import write_bundle
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.reference import build_reference

MakeBundle = Callable[..., Path]
PASSED = Gate(passed=True, checks=())


def bundle_file(
    path: Path, name: str = "model", gate: Gate = PASSED, targets: tuple[str, ...] = ("host",)
) -> Path:
    """A bundle whose artifact nobody runs; everything else in it is real."""
    rng = np.random.default_rng(0)
    contract = Contract(TensorSpec("input", (3,)), ("a", "b"))
    samples = rng.normal(size=(200, 3)).astype(np.float32)
    reference = build_reference(
        contract, samples, rng.random(200).astype(np.float32), rng.integers(0, 2, 200)
    )
    golden = Golden(samples[:4], np.zeros((4, 2), np.int8), 0.1, 0)
    artifacts = {f"artifacts/{target}.tflite": f"{name}-{target}".encode() for target in targets}
    number = EstimateRecord(1000.0, 900.0, 1100.0, "bytes", "T2", "planner")
    draft = Manifest(
        name=name,
        members=(),
        artifacts=tuple(
            Artifact(
                target=target,
                format="tflite",
                path=member,
                bytes=len(data),
                sha256="",
                numerics="int8.v1",
                accuracy=0.9,
                latency=number,
                ram=number,
                flash=number,
            )
            for target, (member, data) in zip(targets, artifacts.items(), strict=True)
        ),
        accuracy_float=0.9,
        accuracy_int8=0.9,
        gate=gate,
        lineage=Lineage(data_sha256="d" * 64, search_id="search-1"),
        inputs={},
        tools={},
    )
    draft = msgspec.structs.replace(
        draft,
        artifacts=tuple(
            msgspec.structs.replace(a, sha256=hashlib.sha256(artifacts[a.path]).hexdigest())
            for a in draft.artifacts
        ),
    )
    members = {
        **artifacts,
        "contract.json": msgspec.json.encode(contract),
        "golden.npz": pack_golden(golden),
        "reference.bin": reference.to_bytes(),
        "certificate.json": b"{}",
        "card.md": b"card",
    }
    write_bundle(path, draft, members)
    return path


@pytest.fixture(scope="session")
def bundle_at() -> MakeBundle:
    """`bundle_at(path, name)` writes a bundle there: for fixtures that outlive a test."""
    return bundle_file


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """`make_bundle("name", gate=…, targets=…)` gives the path of an `.ekb` file."""

    def make(name: str = "model", **changes: object) -> Path:
        return bundle_file(tmp_path / f"{name}.ekb", name, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture
def fleet_folder(tmp_path: Path) -> FleetFolder:
    """A fresh fleet folder, with ports and keys of its own."""
    return init_fleet(tmp_path / "fleet")


@pytest.fixture(scope="session")
def fleet_template(tmp_path_factory: pytest.TempPathFactory) -> FleetFolder:
    """The fleet folder that `copied_fleet` copies."""
    return init_fleet(tmp_path_factory.mktemp("template") / "fleet")


@pytest.fixture
def copied_fleet(fleet_template: FleetFolder, tmp_path: Path) -> FleetFolder:
    """A fleet folder of the test's own, for tests that start no process on its ports."""
    copy = shutil.copytree(fleet_template.path, tmp_path / "fleet")
    return FleetFolder(copy, fleet_template.settings)

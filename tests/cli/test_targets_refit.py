"""From the reports of a fleet to a corrected profile, through the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TABLE = """
[[costs]]
engine = "litert"
dtype = "int8"
tier = "T3"
evidence = "planted"
low_ratio = 0.9
high_ratio = 1.1
per_run_us = 2.0

[costs.ops]
fully_connected = { per_call_us = 3.0, ns_per_mac = 1.0 }

[[evidence]]
id = "planted"
tier = "T3"
source = "chosen for a test"
"""
REFIT = ("targets", "refit", "host", "--field", "field.json")


@pytest.fixture(scope="module")
def field(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet whose one device told of 500 inferences of 42.2 µs, which is the middle of a bin."""
    from edgekiln.fleet.inbound import Inbound
    from edgekiln.fleet.store import open_store
    from edgekiln.runtime import open_bundle
    from edgekiln.runtime.protocol import FeatureWindow, Report
    from edgekiln.runtime.telemetry import LatencyHistogram
    from edgekiln.targets.profiles import BUILTIN_FOLDER

    folder = tmp_path_factory.mktemp("field")
    shutil.copytree(built / "farm", folder / "farm")
    shutil.copy(built / "good.ekb", folder)
    (folder / "devices").mkdir()
    profile = (BUILTIN_FOLDER / "host.toml").read_text() + TABLE
    (folder / "devices" / "host.toml").write_text(profile)
    (folder / "edgekiln.toml").write_text('profiles = ["devices"]\n')
    (folder / "new").mkdir()
    histogram = LatencyHistogram()
    histogram.add(42.2, 500)
    window = FeatureWindow(name="x", bins=(0,) * 16, evidence=0.0, alarm=False)
    told = Report(
        boot_id="b",
        seq=1,
        bundle_id=open_bundle(built / "good.ekb").bundle_id,
        start_s=0.0,
        end_s=1.0,
        samples=500,
        violations=0,
        latency_us=histogram.counts,
        confidence=window,
        classes=(0, 0, 0),
        class_drift=window,
        features=(),
    )
    store = open_store(folder / "farm" / "fleet.db")
    store.apply([Inbound("sensor", told)], now_s=1.0)
    store.close()
    return folder


def test_profile_is_corrected_by_the_fleet_and_used_by_the_next_prediction(
    field: Path, cli: Callable[..., object]
) -> None:
    listed = cli(("fleet", "latency", "--fleet", "farm"), field)
    assert listed.code == 0, listed.err
    cells = listed.out.splitlines()[1].split("\t")
    assert cells[2:4] == ["host", "litert"]
    assert cells[6:] == ["1", "500", "T4"]
    told = cli(("fleet", "latency", "--fleet", "farm", "--json"), field)
    (field / "field.json").write_text(told.out)
    ran = cli((*REFIT, "--bundle", "good.ekb", "-o", "new/host.toml", "--json"), field)
    assert ran.code == 0, ran.err
    done = json.loads(ran.out)
    # 2 µs a run, 3 µs a call and 12 MACs of 1 ns are 5.012 µs.
    assert len(done["flags"]) == 2
    assert "is 8.41 times the estimate of 0.00501 ms, above its interval" in done["flags"][0]
    (field / "edgekiln.toml").write_text('profiles = ["new"]\n')
    shown = json.loads(cli(("targets", "show", "host", "--json"), field).out)
    first = shown["costs"][0]
    assert (first["evidence_id"], first["samples"]) == ("field-litert-int8", 1)
    assert first["per_run_us"] + first["ops"]["fully_connected"]["per_call_us"] == pytest.approx(
        42.2 * 5 / 5.012, rel=0.01
    )
    (field / "edgekiln.toml").write_text('profiles = ["devices"]\n')
    again = cli((*REFIT, "--bundle", "good.ekb", "-o", "new/host.toml"), field)
    assert again.out.splitlines()[0] == done["flags"][0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("raspberry-pi-4", "--field", "good.json"), "no device of target 'raspberry-pi-4'"),
        (("host", "--field", "edgekiln.toml"), "make it with: edgekiln fleet latency --json"),
        (("host", "--field", "missing.json"), "missing.json: cannot be read"),
        (("host", "--field", "other.json"), "none of these bundles was seen on 'host'; give one"),
    ],
)
def test_mistake_ends_in_one_line_and_no_profile(
    arguments: tuple[str, ...], says: str, field: Path, cli: Callable[..., object]
) -> None:
    told = cli(("fleet", "latency", "--fleet", "farm", "--json"), field)
    (field / "good.json").write_text(told.out)
    document = json.loads(told.out)
    document["latencies"][0]["bundle_id"] = "0" * 64
    (field / "other.json").write_text(json.dumps(document))
    command = ("targets", "refit", *arguments, "--bundle", "good.ekb", "-o", "new/raw.toml")
    ran = cli(command, field)
    assert ran.code == 2
    assert says in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not (field / "new" / "raw.toml").exists()

"""The demo's second half: a fleet of processes that takes releases, drifts, and refuses a bad one.

Everything is asked of the server through its HTTP API, as an operator would; nothing here looks
into a device's folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgekiln.fleet.client import FleetClient
from edgekiln.fleet.enrol import enrol_device
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.model import Alert, DeviceView, Release, RolloutState, Wave
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.requests import RolloutDetail, StartRollout
from edgekiln.fleet.twin import Arm
from edgekiln.runtime.protocol import SelfTestLimits

from ..errors import DemoError
from ..processes import Children
from .result import DriftOutcome, RollbackOutcome, RolloutOutcome
from .streams import dim_and_shift, write_stream

T = TypeVar("T")

COHORTS = ("line-a", "line-b")
DEVICES = 8
DRIFTED = "line-b"
RATE_HZ = 25.0
WINDOW_S = 2.0
WAVES = (Wave(devices=2), Wave(permille=1000))
# Patience, not a claim: a busy machine starts eight devices in a minute.
START_S, TURN_S = 240.0, 120.0
LIMITS = SelfTestLimits(trial_samples=60, trial_timeout_s=60.0, max_disagreement=0.25)
SOAK_S = 2.0
POLL_S = 0.2
QUIET_S = 2 * WINDOW_S  # how long the healthy half is watched once the alert is there


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running fleet: its folder, its server's client, the children, the sensors' samples."""

    folder: FleetFolder
    client: FleetClient
    children: Children
    streams: Path
    samples: npt.NDArray[np.float32]

    def until(self, what: str, ask: Callable[[], T | None], timeout_s: float) -> T:
        """Poll until `ask` gives something.

        Raises:
            DemoError: it did not within `timeout_s`, or a child process ended meanwhile.
        """
        deadline = time.monotonic() + timeout_s
        while (answer := ask()) is None:
            self.children.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{what} did not happen within {timeout_s:g} s")
            time.sleep(POLL_S)
        return answer

    def running(self, bundle_id: str) -> tuple[DeviceView, ...]:
        """Online devices whose live session runs `bundle_id`."""
        return tuple(d for d in self.client.devices() if d.online and d.running == bundle_id)


def device_name(index: int) -> str:
    """`sensor-1` to `sensor-8`."""
    return f"sensor-{index + 1}"


def cohort_of(index: int) -> str:
    """The first half is line-a, the second line-b."""
    return COHORTS[index * len(COHORTS) // DEVICES]


def found_fleet(path: Path, factory: Path) -> tuple[FleetFolder, Release]:
    """Keys, an empty repository, and the release that devices leave the factory with."""
    folder = init_fleet(path)
    return folder, register_release(folder, factory, alias="factory")


def start_fleet(
    folder: FleetFolder,
    factory: Release,
    samples: npt.NDArray[np.float32],
    out: Path,
    children: Children,
) -> Fleet:
    """Enrol the devices, start server and devices as processes, wait until all are live."""
    streams = out / "streams"
    streams.mkdir(parents=True, exist_ok=True)
    homes = []
    for index in range(DEVICES):
        home = out / "devices" / device_name(index)
        cohorts = ("all", cohort_of(index))
        homes.append(enrol_device(folder, device_name(index), "host", cohorts, home, factory))
        write_stream(streams / f"{device_name(index)}.npz", samples)
    children.start("fleet", ("fleet", "serve", str(folder.path)))
    client = FleetClient.wait(folder.path, timeout_s=30.0)
    for index, home in enumerate(homes):
        stream = streams / f"{device_name(index)}.npz"
        children.start(
            device_name(index),
            (
                *("device", "run", str(home), "--source", str(stream), "--seed", str(index)),
                *("--rate-hz", str(RATE_HZ), "--window-s", str(WINDOW_S)),
            ),
        )
    fleet = Fleet(folder, client, children, streams, samples)
    fleet.until(
        "all devices running their factory release",
        lambda: len(fleet.running(factory.bundle_id)) == DEVICES or None,
        timeout_s=START_S,
    )
    return fleet


def roll_out(fleet: Fleet, release: Release) -> RolloutOutcome:
    """The release in two waves; done when every live session runs it."""
    started = time.monotonic()
    detail = _rollout(fleet, release)
    if detail.rollout.state is not RolloutState.DONE:
        state, reason = detail.rollout.state, detail.rollout.reason
        raise DemoError(f"the rollout ended {state}: {reason}")
    committed = fleet.until(
        "every live session running the release",
        lambda: len(fleet.running(release.bundle_id)) == DEVICES or None,
        timeout_s=TURN_S,
    )
    return RolloutOutcome(
        devices=DEVICES,
        committed=len(fleet.running(release.bundle_id)) if committed else 0,
        waves=len(WAVES),
        release=release.bundle_id,
        wall_s=time.monotonic() - started,
    )


def drift(fleet: Fleet) -> DriftOutcome:
    """Half of the sensors dim and shift; an alert must name them, and nobody else."""
    started = time.monotonic()
    early = fleet.client.alerts()
    changed = dim_and_shift(fleet.samples)
    for index in range(DEVICES):
        if cohort_of(index) == DRIFTED:
            write_stream(fleet.streams / f"{device_name(index)}.npz", changed)
    alert = fleet.until(f"a drift alert for {DRIFTED}", lambda: _drift_alert(fleet), TURN_S)
    took_s = time.monotonic() - started
    time.sleep(QUIET_S)  # the other half gets its chance to cry wolf
    alerts = [a for a in fleet.client.alerts() if a.kind == "drift"]
    wrong = [a for a in alerts if a.cohort != DRIFTED] + [a for a in early if a.kind == "drift"]
    return DriftOutcome(
        alerts=len(alerts),
        drifted_cohort=alert.cohort,
        false_alerts=len(wrong),
        features=tuple(feature.feature for feature in alert.features),
        summary=alert.summary,
        seconds_to_alert=took_s,
    )


def _drift_alert(fleet: Fleet) -> Alert | None:
    alerts = (a for a in fleet.client.alerts() if a.kind == "drift" and a.cohort == DRIFTED)
    return next(alerts, None)


def refuse(fleet: Fleet, bad: Release, good: Release) -> RollbackOutcome:
    """The bad release goes to two devices; their trials must stop it."""
    detail = _rollout(fleet, bad)
    if detail.rollout.state is not RolloutState.ABORTED:
        raise DemoError(f"the bad release ended {detail.rollout.state}, not ABORTED")
    fleet.until(
        "every device back on the good release",
        lambda: len(fleet.running(good.bundle_id)) == DEVICES or None,
        timeout_s=TURN_S,
    )
    detail = fleet.client.rollout(detail.rollout.rollout_id)
    exposed = {e.device for e in detail.exposures if e.arm is Arm.CANARY}
    restored = {view.device for view in fleet.running(good.bundle_id)} & exposed
    return RollbackOutcome(
        exposed_devices=len(exposed),
        restored_devices=len(restored),
        untouched_devices=DEVICES - len(exposed),
        release=bad.bundle_id,
        forced_reason=bad.forced_reason,
        decision=detail.rollout.reason,
    )


def _rollout(fleet: Fleet, release: Release) -> RolloutDetail:
    request = StartRollout(
        release=release.bundle_id,
        cohort="all",
        waves=WAVES,
        soak_s=SOAK_S,
        deadline_s=120.0,
        limits=LIMITS,
    )
    rollout_id = fleet.client.start_rollout(request).rollout_id

    def ended() -> RolloutDetail | None:
        detail = fleet.client.rollout(rollout_id)
        busy = detail.rollout.state in (RolloutState.ACTIVE, RolloutState.SOAKING)
        return None if busy else detail

    return fleet.until(f"the end of rollout {rollout_id}", ended, timeout_s=START_S)

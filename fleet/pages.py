"""The dashboard's parts, rendered on the server: values in, HTML out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgekiln.runtime.protocol import DeviceState

from .model import Alert, DeviceView, Release, RolloutState
from .requests import RolloutDetail

HERE = Path(__file__).parent
STATIC = HERE / "static"

COLOURS: dict[str, str] = {
    DeviceState.IDLE: "soft",
    DeviceState.COMMITTED: "good",
    DeviceState.ROLLED_BACK: "bad",
    DeviceState.BROKEN: "bad",
    DeviceState.REJECTED: "bad",
    DeviceState.ROLLBACK: "bad",
    RolloutState.DONE: "good",
    RolloutState.ABORTED: "bad",
}


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows, read at one moment."""

    tenant: str
    devices: tuple[DeviceView, ...]
    releases: tuple[Release, ...]
    rollouts: tuple[RolloutDetail, ...]
    alerts: tuple[Alert, ...]


class Tiles(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers on top."""

    devices: int
    online: int
    releases_running: int
    rollouts_active: int
    alerts_open: int
    samples: int


def tiles(view: FleetView) -> Tiles:
    """Count what the tiles show."""
    busy = (RolloutState.ACTIVE, RolloutState.SOAKING)
    return Tiles(
        devices=len(view.devices),
        online=sum(device.online for device in view.devices),
        releases_running=len({d.running for d in view.devices if d.online and d.running}),
        rollouts_active=sum(item.rollout.state in busy for item in view.rollouts),
        alerts_open=sum(alert.state == "open" for alert in view.alerts),
        samples=sum(device.samples for device in view.devices),
    )


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(HERE / "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["state_colour"] = lambda state: COLOURS.get(state, "warn")
    environment.filters["brief"] = _brief
    environment.filters["clock"] = lambda at_s: time.strftime("%H:%M:%S", time.localtime(at_s))
    return environment


def _brief(names: Sequence[str]) -> str:
    shown = ", ".join(names[:2])
    return f"{shown} and {len(names) - 2} more" if len(names) > 2 else shown or "none"


def render(template: str, view: FleetView) -> str:
    """One template (`dashboard.html`, or a part of it) as HTML."""
    names = {release.bundle_id: release.name for release in view.releases}

    def release_name(bundle_id: str) -> str:
        if not bundle_id:
            return "–"
        return f"{names.get(bundle_id, 'unknown')} {bundle_id[:8]}"

    return (
        _environment()
        .get_template(template)
        .render(
            release_name=release_name,
            tenant=view.tenant,
            tiles=tiles(view),
            devices=view.devices,
            rollouts=view.rollouts,
            alerts=view.alerts,
        )
    )

"""The dashboard's parts, rendered on the server: values in, HTML out.

Much of what is shown was said by devices. Jinja escapes all of it; `short` and `brief` bound its
length and take out characters that would hide or turn text around.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgekiln.runtime.drift import RUN_LENGTH
from edgekiln.runtime.protocol import DeviceState

from .alerts import ALPHA, MIN_DEVICES, MIN_SHARE
from .model import Alert, DeviceView, Release, RolloutState
from .requests import RolloutDetail

HERE = Path(__file__).parent
STATIC = HERE / "static"
DEVICES_SHOWN = 200
ALERTS_SHOWN = 20
SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")

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


def short(text: str, limit: int) -> str:
    """At most `limit` printable characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)


def brief(names: Sequence[str], shown: int = 2) -> str:
    """The first names, and how many more."""
    listed = ", ".join(short(name, 40) for name in names[:shown])
    more = len(names) - shown
    return f"{listed} and {more} more" if more > 0 else listed or "none"


def power(number: float) -> str:
    """As it is from 0.01 to 10 000, else two digits and a power of ten."""
    if not math.isfinite(number):
        return "beyond measure"
    if number == 0 or 0.01 <= abs(number) < 10_000:
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
    digits, exponent = f"{number:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def render(template: str, view: FleetView) -> str:
    """One template (`dashboard.html`, or a part of it) as HTML."""
    names = {release.bundle_id: release.name for release in view.releases}

    def release_name(bundle_id: str) -> str:
        if not bundle_id:
            return "–"
        return short(f"{names.get(bundle_id, 'unknown')} {bundle_id[:8]}", 60)

    return (
        _environment()
        .get_template(template)
        .render(
            release_name=release_name,
            tenant=view.tenant,
            zone=time.strftime("%Z"),
            tiles=tiles(view),
            devices=sorted(view.devices, key=_calm)[:DEVICES_SHOWN]
            if len(view.devices) > DEVICES_SHOWN
            else view.devices,
            devices_left_out=max(0, len(view.devices) - DEVICES_SHOWN),
            rollouts=view.rollouts,
            alerts=sorted(view.alerts, key=_handled)[:ALERTS_SHOWN],
            alerts_left_out=max(0, len(view.alerts) - ALERTS_SHOWN),
            run_length=RUN_LENGTH,
            alpha=ALPHA,
            min_share=MIN_SHARE,
            min_devices=MIN_DEVICES,
        )
    )


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(HERE / "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        state_colour=lambda state: COLOURS.get(state, "warn"),
        words=lambda state: str(state).lower().replace("_", " "),
        brief=brief,
        short=short,
        power=power,
        count="{:,}".format,
        clock=lambda at_s: time.strftime("%H:%M:%S", time.localtime(at_s)),
    )
    return environment


def _calm(device: DeviceView) -> bool:
    """Sorts behind the devices that somebody should look at."""
    return device.online and not (device.error or device.drifting)


def _handled(alert: Alert) -> bool:
    return alert.state != "open"

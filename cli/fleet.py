"""`edgekiln fleet`: the fleet folder, its server, devices, rollouts and alerts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, print_table, say
from .fleet_captures import captures
from .fleet_devices import FOLDER, enroll, fleet_option, revoke, token
from .project import load_project, profile_folders
from .rollout_limits import parse_shadow, parse_window
from .waves import parse_waves

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekiln.fleet.client import FleetClient, ServerAddress
    from edgekiln.fleet.model import Rollout


@click.group()
def fleet() -> None:
    """Serve a fleet, enrol devices, roll out, see alerts."""


fleet.add_command(enroll)
fleet.add_command(token)
fleet.add_command(revoke)
fleet.add_command(captures)


def client(folder: Path) -> FleetClient:
    """A client of the server over `folder`."""
    need_extra("fleet")
    from edgekiln.fleet.client import FleetClient

    return FleetClient(folder)


@fleet.command("init")
@click.argument("folder", type=FOLDER)
@click.option("--http-port", default=0, type=click.IntRange(0, 65535), help="0: choose a free one.")
@click.option("--broker-port", default=0, type=click.IntRange(0, 65535), help="0: choose.")
@click.option("--public-host", default="", help="Name or address by which devices reach this host.")
@common_options
def init(folder: Path, http_port: int, broker_port: int, public_host: str, as_json: bool) -> None:
    """Make FOLDER: keys, an empty signed repository, a registry."""
    need_extra("fleet")
    from edgekiln.fleet.folder import init_fleet

    made = init_fleet(folder, http_port=http_port, broker_port=broker_port, public_host=public_host)
    say(f"made {made.path}; keys/offline belongs on a machine that no network reaches")
    if as_json:
        print_json({"fleet": str(made.path)})


@fleet.command()
@click.argument("folder", type=FOLDER)
@common_options
def serve(folder: Path, as_json: bool) -> None:
    """Run broker, engine, API and dashboard over FOLDER until Ctrl-C."""
    need_extra("fleet")
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.server import serve as run

    def ready(address: ServerAddress) -> None:
        say(f"dashboard at {address.url}")
        if as_json:
            print_json(address)

    run(open_fleet(folder), ready)


@fleet.command()
@fleet_option
@common_options
def releases(folder: Path, as_json: bool) -> None:
    """List the releases that a fleet can roll out; needs no running server."""
    need_extra("fleet")
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.registry import list_releases

    found = list_releases(open_fleet(folder))
    if as_json:
        print_json({"releases": found})
        return
    rows = [
        (
            item.bundle_id[:12],
            item.name,
            ",".join(item.aliases) or "–",
            item.quarantined or (f"forced: {item.forced_reason}" if item.forced_reason else "good"),
        )
        for item in found
    ]
    print_table("Releases", ("bundle", "name", "aliases", "state"), rows)


@fleet.command()
@fleet_option
@common_options
def devices(folder: Path, as_json: bool) -> None:
    """List devices and what each of them really runs."""
    found = client(folder).devices()
    if as_json:
        print_json({"devices": found})
        return
    rows = [
        (
            view.device,
            "online" if view.online else "offline",
            ",".join(view.cohorts),
            view.state,
            view.running[:12],
            str(view.samples),
            "–" if view.p95_latency_ms is None else f"{view.p95_latency_ms:.3f} ms",
            ",".join(view.drifting[:3]) or "–",
        )
        for view in found
    ]
    columns = (
        "device", "", "cohorts", "state", "running", "inferences", "p95 latency, measured", "drift",
    )  # fmt: skip
    print_table("Devices", columns, rows)


@fleet.command()
@fleet_option
@click.option("--project", type=FOLDER, help="Default: edgekiln.toml here.")
@common_options
def latency(folder: Path, project: Path | None, as_json: bool) -> None:
    """Show what bundles take on devices of each target; needs no running server.

    Counts of all reports that are kept. The document of --json corrects a profile:
    `edgekiln targets refit`.
    """
    need_extra("fleet")
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.latency import fleet_latency

    found = fleet_latency(open_fleet(folder), profile_folders(project))
    if found.left_out:
        say(f"{found.left_out} reports left out: other bins, or a device that is not enrolled")
    if as_json:
        print_json(found)
        return
    rows = [
        (
            row.bundle_id[:12],
            row.name or "–",
            row.target,
            row.engine or "not known",
            _field_text(row.median_ms),
            _field_text(row.p95_ms),
            str(row.devices),
            f"{row.samples:,}",
            row.tier,
        )
        for row in found.latencies
    ]
    columns = (
        "bundle", "name", "target", "engine", "median, measured", "p95, measured", "devices",
        "inferences", "tier",
    )  # fmt: skip
    print_table("Latencies in the field", columns, rows)


def _field_text(latency_ms: float | None) -> str:
    return "outside the bins" if latency_ms is None else f"{latency_ms:.3g} ms"


@fleet.group()
def rollout() -> None:
    """Start, watch and stop rollouts."""


@rollout.command("start")
@click.argument("release")
@fleet_option
@click.option("--cohort", help="Default: [rollout] cohort of edgekiln.toml.")
@click.option("--wave", "waves", multiple=True, help="A share (10%) or a number of devices (2).")
@click.option("--soak-s", type=click.FloatRange(min=0))
@click.option("--deadline-s", type=click.FloatRange(min=1))
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL",
    help="A web server with the repository's targets/; tried before the broker.",
)
@click.option("--shadow", help="Answer beside the live model first; so many may differ (5%).")
@click.option("--window", help="Of the day (UTC) in which devices may test it (22:00-04:00).")
@click.option("--project", type=FOLDER, help="Default: edgekiln.toml here.")
@click.option(
    "--wait-s",
    default=0.0,
    type=click.FloatRange(min=0),
    help="Wait this long for it to end; exit 1 if it failed.",
)
@common_options
def start(
    release: str,
    folder: Path,
    cohort: str | None,
    waves: tuple[str, ...],
    soak_s: float | None,
    deadline_s: float | None,
    mirrors: tuple[str, ...],
    shadow: str | None,
    window: str | None,
    project: Path | None,
    wait_s: float,
    as_json: bool,
) -> None:
    """Roll RELEASE (bundle id, prefix or alias) out to a cohort."""
    need_extra("fleet")
    from edgekiln.fleet.requests import StartRollout

    defaults = load_project(project).rollout
    request = StartRollout(
        release=release,
        cohort=cohort if cohort is not None else defaults.cohort,
        waves=parse_waves(waves or defaults.waves),
        soak_s=defaults.soak_s if soak_s is None else soak_s,
        deadline_s=defaults.deadline_s if deadline_s is None else deadline_s,
        mirrors=mirrors or defaults.mirrors,
        limits=parse_shadow(defaults.shadow if shadow is None else shadow),
        window_s=parse_window(defaults.window if window is None else window),
    )
    api = client(folder)
    started = api.start_rollout(request)
    say(f"rollout {started.rollout_id}: wave 1 of {len(started.waves)}")
    if wait_s > 0:
        _wait(api, started.rollout_id, wait_s)
    if as_json:
        print_json(api.rollout(started.rollout_id))


def _wait(api: FleetClient, rollout_id: str, wait_s: float) -> None:
    from edgekiln.fleet.model import RolloutState

    from .errors import CheckFailedError

    deadline = time.monotonic() + wait_s
    running = (RolloutState.ACTIVE, RolloutState.SOAKING)
    while (now := api.rollout(rollout_id).rollout).state in running:
        if time.monotonic() > deadline:
            raise CheckFailedError(f"rollout {rollout_id} is still {now.state} after {wait_s:g} s")
        time.sleep(0.5)
    if now.state is not RolloutState.DONE:
        raise CheckFailedError(f"rollout {rollout_id} ended {now.state}: {now.reason}")


@rollout.command("list")
@fleet_option
@common_options
def list_(folder: Path, as_json: bool) -> None:
    """List rollouts, newest first."""
    found = client(folder).rollouts()
    if as_json:
        print_json({"rollouts": found})
        return
    rows = [
        (r.rollout_id, r.release[:12], r.cohort, r.state, f"{r.wave + 1}/{len(r.waves)}", r.reason)
        for r in found
    ]
    print_table("Rollouts", ("id", "release", "cohort", "state", "wave", "reason"), rows)


@rollout.command()
@click.argument("rollout_id")
@fleet_option
@common_options
def show(rollout_id: str, folder: Path, as_json: bool) -> None:
    """Show a rollout and every decision with its evidence."""
    detail = client(folder).rollout(rollout_id)
    if as_json:
        print_json(detail)
        return
    print(f"{detail.rollout.rollout_id} {detail.rollout.state} {detail.rollout.reason}")
    for event in detail.events:
        print(f"{time.strftime('%H:%M:%S', time.localtime(event.at_s))} {event.text}")


def _overrule(name: str, text: str, act: Callable[[FleetClient, str, str], Rollout]) -> None:
    """A command by which a person overrules the engine; the reason goes into its log."""

    @rollout.command(name, help=text)
    @click.argument("rollout_id")
    @click.option("--reason", required=True, help="Kept in the decision log.")
    @fleet_option
    @common_options
    def command(rollout_id: str, reason: str, folder: Path, as_json: bool) -> None:
        after = act(client(folder), rollout_id, reason)
        say(f"rollout {rollout_id} is {after.state}")
        if as_json:
            print_json(after)


_overrule(
    "abort",
    "Send every device that took the release back to its last good one.",
    lambda api, rollout_id, reason: api.abort(rollout_id, reason),
)
_overrule(
    "pause",
    "Begin no further wave until resumed.",
    lambda api, rollout_id, reason: api.pause(rollout_id, reason),
)
_overrule(
    "resume",
    "Go on: again where it was paused, with the next wave where it was inconclusive.",
    lambda api, rollout_id, reason: api.resume(rollout_id, reason),
)


@fleet.group(invoke_without_command=True)
@fleet_option
@common_options
@click.pass_context
def alerts(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """List alerts with their evidence; `alerts ack ID` takes one in hand."""
    if ctx.invoked_subcommand is not None:
        return
    found = client(folder).alerts()
    if as_json:
        print_json({"alerts": found})
        return
    rows = [
        (str(a.alert_id), a.state, a.kind, a.cohort, a.release[:12], ",".join(a.devices), a.summary)
        for a in found
    ]
    print_table("Alerts", ("id", "state", "kind", "cohort", "release", "devices", "summary"), rows)


@alerts.command()
@click.argument("alert_id", type=int)
@fleet_option
@common_options
def ack(alert_id: int, folder: Path, as_json: bool) -> None:
    """Acknowledge an alert."""
    done = client(folder).acknowledge(alert_id)
    say(f"alert {done.alert_id} is {done.state}")
    if as_json:
        print_json(done)

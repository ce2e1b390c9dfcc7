"""`edgekiln device`: what runs on a device."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click

from .console import common_options, print_json, say
from .timings import print_timing, require_certified


@click.group()
def device() -> None:
    """Run what runs on a device."""


@device.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--source",
    "source_path",
    type=click.Path(path_type=Path),
    required=True,
    help="FILE.npz with x.",
)
@click.option("--rate-hz", default=10.0, show_default=True, type=click.FloatRange(min=0.01))
@click.option("--window-s", default=60.0, show_default=True, type=click.FloatRange(min=0.1))
@click.option("--seed", default=0, show_default=True, help="Order of the samples.")
@common_options
def run(
    folder: Path, source_path: Path, rate_hz: float, window_s: float, seed: int, as_json: bool
) -> None:
    """Infer on samples, report windows, take updates; FOLDER was made by `fleet enroll`.

    SIGTERM and Ctrl-C end it in order: the open window is stored and sent when the fleet is back.
    """
    from edgekiln.runtime.config import load_device
    from edgekiln.runtime.device import run_device
    from edgekiln.runtime.service import READY, STOPPING, notify
    from edgekiln.runtime.source import NpzSource

    config = load_device(folder)
    source = NpzSource(source_path, rate_hz=rate_hz, seed=seed)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        notify(STOPPING)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)

    def ready(running: str) -> None:
        say(f"{config.device} runs {running[:12]}")
        notify(READY)
        if as_json:
            print_json({"device": config.device, "running": running})

    run_device(config, source, stop, window_s=window_s, on_ready=ready)
    say(f"{config.device} ended in order")


@device.command()
@click.argument("token_file", metavar="TOKEN", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Its folder.")
@common_options
def enroll(token_file: Path, out: Path, as_json: bool) -> None:
    """Make this device's own key, get its identity and its signed first model.

    TOKEN was made by `fleet token`; the fleet has to be reachable. After a failure the same
    command goes on with the same key.
    """
    from edgekiln.runtime.enrol import enrol, read_token
    from edgekiln.runtime.enrol_link import EnrolLink

    token = read_token(token_file)
    with EnrolLink.of_token(token) as link:
        name = enrol(token, out, link, say)
    say(f"this is {name} now; run: edgekiln device run {out} --source …")
    if as_json:
        print_json({"device": name, "folder": str(out)})


@device.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Even where most of its life is left.")
@common_options
def renew(folder: Path, force: bool, as_json: bool) -> None:
    """Replace the device's key and certificate when less than a third of its life is left.

    Also while the device runs, which takes the new one with its next connection.
    """
    from datetime import UTC, datetime

    from edgekiln.runtime.config import load_device
    from edgekiln.runtime.device import link_config
    from edgekiln.runtime.enrol_link import renew_identity
    from edgekiln.runtime.errors import EnrolError
    from edgekiln.runtime.identity import due_for_renewal

    config = load_device(folder)
    if config.tls is None or config.tls.identity is None:
        raise EnrolError(f"{config.device} has a password and no certificate; enrol it again")
    due = force or due_for_renewal(config.tls.identity, datetime.now(UTC))
    if due:
        renew_identity(link_config(config), config.tls.identity)
    say(f"{config.device}: {'renewed' if due else 'nothing to renew yet'}")
    if as_json:
        print_json({"device": config.device, "renewed": due})


@device.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--user", required=True, help="Who runs it; owns FOLDER, and needs no rights.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@common_options
def unit(folder: Path, user: str, arguments: tuple[str, ...], as_json: bool) -> None:
    """Print a systemd unit that runs FOLDER's device; ARGUMENTS are those of `device run`.

    edgekiln device unit /var/lib/cam-1 --user edgekiln -- --source /dev/shm/frames.npz
    """
    from edgekiln.runtime.config import load_device
    from edgekiln.runtime.service import Unit, unit_text

    config, place = load_device(folder), folder.resolve()
    program = str(Path(sys.argv[0]).resolve())
    command = (program, "device", "run", str(place), *arguments)
    text = unit_text(Unit(config.device, place, user, command))
    if as_json:
        print_json({"device": config.device, "unit": text})
        return
    print(text, end="")


@device.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", "target_id", required=True, help="Whose artifact of the bundle.")
@click.option("--budget-s", default=10.0, show_default=True, type=click.FloatRange(min=0.1))
@common_options
def measure(bundle: Path, target_id: str, budget_s: float, as_json: bool) -> None:
    """Time one inference of BUNDLE's artifact on this device (T4), to send back with --json.

    Exits 1 with the reasons where the device is too busy to certify a number.
    """
    from edgekiln.runtime.timing import time_bundle
    from edgekiln.targets.steadiness import Rules

    found = time_bundle(bundle, target_id, Rules(budget_s=budget_s))
    if as_json:
        print_json(found)
    else:
        print_timing(f"{target_id}/{found.format} of {found.bundle_id[:12]}", found.timing, "T4")
    require_certified(f"{target_id}/{found.format}", found.timing)

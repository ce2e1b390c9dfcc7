"""`edgekiln device`: what runs on a device."""

from __future__ import annotations

import signal
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
    from edgekiln.runtime.source import NpzSource

    config = load_device(folder)
    source = NpzSource(source_path, rate_hz=rate_hz, seed=seed)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def ready(running: str) -> None:
        say(f"{config.device} runs {running[:12]}")
        if as_json:
            print_json({"device": config.device, "running": running})

    run_device(config, source, stop, window_s=window_s, on_ready=ready)
    say(f"{config.device} ended in order")


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

"""What a device costs that has next to nothing to do: its share of a core, and its memory.

A real fleet server with its broker, and `edgekiln device run` on one sample every 50 seconds: what
is left is the agent, the connection and the loop. Processor time is the system's own account of
the process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from edgekiln.fleet.client import FleetClient
from edgekiln.fleet.enrol import enrol_device
from edgekiln.fleet.folder import FleetFolder, init_fleet
from edgekiln.fleet.registry import register_release

from .figure import FULL, Figure, Scale
from .plausible import models_folder
from .runtime_predict import MODEL, compile_to

START_S = 30.0
SETTLE_S, IDLE_S, QUICK_IDLE_S = 5.0, 60.0, 10.0
RATE_HZ = 0.02
MOST = 0.005  # of a core


def run(scale: Scale) -> Iterator[Figure]:
    """Share of a core while idle, and resident memory."""
    if models_folder() is None:
        yield Figure("idle device: no models, set EDGEKILN_DATA", 0, "models", "exact")
        return
    idle_s = IDLE_S if scale.samples >= FULL.samples else QUICK_IDLE_S
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekiln-idle-")))
        folder = init_fleet(place / "fleet")
        bundle = place / "model.ekb"
        compile_to(MODEL, ("tflite",), bundle)
        release = register_release(folder, bundle)
        device = enrol_device(folder, "idle", "host", ("all",), place / "device", release)
        np.savez(place / "x.npz", x=np.load(bundle.with_suffix(".npy")))
        stack.callback(_ended, _child("fleet", "serve", str(folder.path)))
        FleetClient.wait(folder.path, START_S)
        source = ("--source", str(place / "x.npz"), "--rate-hz", str(RATE_HZ))
        child = _child("device", "run", str(device), *source)
        stack.callback(_ended, child)
        _online(folder)
        time.sleep(SETTLE_S)
        process = psutil.Process(child.pid)
        before, began = _cpu_s(process), time.monotonic()
        time.sleep(idle_s)
        share = (_cpu_s(process) - before) / (time.monotonic() - began)
        yield Figure("idle device, share of a core", share, "", "T3", MOST)
        yield Figure("idle device, resident memory", process.memory_info().rss / 1e6, "MB", "T3")


def _child(*arguments: str) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "edgekiln.cli", *arguments)
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _ended(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    child.wait(START_S)


def _online(folder: FleetFolder) -> None:
    client, deadline = FleetClient(folder.path), time.monotonic() + START_S
    while not any(device.online for device in client.devices()):
        if time.monotonic() > deadline:
            raise RuntimeError("the device did not come up")
        time.sleep(0.1)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

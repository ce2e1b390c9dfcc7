"""A device's own program: its sensor in, answers out, telemetry and updates beside it.

python sensor.py FOLDER          # made by `edgekiln device enroll`
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.config import load_device
from edgekiln.runtime.device import run_device
from edgekiln.runtime.prediction import Prediction
from edgekiln.runtime.service import READY, notify

RATE_HZ = 10.0


class Sensor:
    """Where samples come from: raw values in the contract's units, one at a time."""

    period_s = 1.0 / RATE_HZ

    def __init__(self) -> None:
        self._noise = np.random.default_rng()

    def next(self) -> npt.NDArray[np.generic]:
        """One frame: in place of this, the driver of a camera or a microphone."""
        return self._noise.uniform(0, 16, (8, 8, 1)).astype(np.float32)


def act(sample: npt.NDArray[np.generic], answer: Prediction) -> None:
    """What the device is for; the next sample waits until this returns."""
    print(f"{answer.labels[0]} {answer.confidences[0]:.2f}", flush=True)


def ready(running: str) -> None:
    """A verified model is live."""
    notify(READY)


def battery_low() -> str:
    """Why no new model should be tried now; empty: go ahead."""
    level = Path("/sys/class/power_supply/BAT0/capacity")
    return "low" if level.is_file() and int(level.read_text()) < 20 else ""


def main(folder: Path) -> None:
    """Until SIGTERM or Ctrl-C, which end the open window in order."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    device = load_device(folder)
    run_device(device, Sensor(), stop, on_ready=ready, on_answer=act, hold=battery_low)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

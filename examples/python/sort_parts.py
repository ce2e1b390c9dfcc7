"""Edgekiln inside a program of your own: a belt with a camera, and a gate that sorts.

    python sort_parts.py DEVICE_FOLDER SAMPLES.npz

DEVICE_FOLDER comes from `edgekiln fleet enroll`. The program keeps sorting while models are
updated and rolled back beside it, and while broker, network or disk are away.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

import numpy as np

from edgekiln.runtime import ContractError, EngineError, RuntimeRoomError, open_device

SURE = 0.8
PERIOD_S = 0.02


def camera(path: str) -> Iterator[np.ndarray]:
    """Raw samples; put your driver here."""
    with np.load(path) as stored:
        samples = stored["x"]
    while True:
        yield from samples


def gate(where: str) -> None:
    """Move the part to the box of its class; put your actuator here."""
    print(where, flush=True)


def main(folder: str, samples: str) -> int:
    """Sort until SIGTERM; the last window of telemetry waits for the fleet then."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    with open_device(folder) as watch:
        for part in camera(samples):
            if stopping:
                return 0
            try:
                answer = watch.predict(part)
            except (ContractError, EngineError) as error:  # counted, and the belt goes on
                print(error, file=sys.stderr)
                gate("unknown")
            else:
                gate(answer.label if answer.confidence >= SURE else "unsure")
            time.sleep(PERIOD_S)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except RuntimeRoomError as error:
        sys.exit(str(error))

"""`open_device`: a device inside a program that has a loop of its own."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .agent_ports import Clock
from .config import load_device
from .device import WINDOW_S, device_process
from .errors import AgentError
from .watch import Watch


@contextlib.contextmanager
def open_device(
    folder: Path | str, window_s: float = WINDOW_S, hold: Callable[[], str] = lambda: ""
) -> Iterator[Watch]:
    """What `edgekiln device run` does, with the samples in the caller's hands.

    Gives a `Watch`: `predict` answers with whatever model is live, while the update agent and MQTT
    work in threads of their own. The broker need not be there. On leaving, the open window is kept
    for the fleet. `hold` says why a new model must not be tested now, as in `run_device`.

    Raises:
        DeviceConfigError: the folder is incomplete, or another process runs this device.
        JournalError: the journal cannot be read.
        AgentError: no model can be loaded, not even the one from the factory.
    """
    config, clock = load_device(Path(folder)), Clock()
    with device_process(config, clock, hold) as process:
        session = process.models.session
        if session is None:
            raise AgentError(
                f"device '{config.device}' has no model that can be loaded; "
                "`edgekiln device run` waits until the fleet sends one"
            )
        rng = np.random.default_rng(secrets.randbits(64))
        post, drift = process.agent.post_report, process.drift.saved
        with Watch(session, post, window_s, clock, rng, drift, process.tap) as watch:
            yield watch

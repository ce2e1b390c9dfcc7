"""What the agent needs of the world; tests and `device.py` each bring their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from .agent_checks import SelfTest
    from .courier import Courier
    from .protocol import Topics, TrialEvidence


@dataclass(frozen=True, slots=True)
class Clock:
    """`now_s`: Unix seconds, may jump. `monotonic_s`: never does, starts anywhere."""

    now_s: Callable[[], float] = time.time
    monotonic_s: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Desk:
    """How the agent talks, and what it keeps for others.

    `announce` publishes the birth again; `keep_drift` writes the drift detectors' state, and
    `keep_captures` what was captured. `restart` ends this process, and says why: the next one is
    rid of a model that hangs. `warning` is what the fleet has to know of this start; empty:
    nothing.
    """

    topics: Topics
    rollout_key: Ed25519PublicKey
    courier: Courier
    announce: Callable[[], None]
    keep_drift: Callable[[bytes], None] = lambda state: None
    keep_captures: Callable[[], None] = lambda: None
    restart: Callable[[str], None] = lambda why: None
    warning: str = ""


class Models(Protocol):
    """The live inference session, as the agent sees it.

    Every method may raise `RuntimeRoomError` when a bundle cannot be opened or run; the model
    that was live before then still is.
    """

    @property
    def running(self) -> str:
        """Bundle id that the live session answers with now; empty where there is none."""
        ...

    @property
    def rss_bytes(self) -> int:
        """Memory that the process holds now."""
        ...

    @property
    def stuck_s(self) -> float:
        """For how long a call of a new model has not returned, in whatever thread; 0: none hangs.

        What hangs never ends by itself: only a new process is rid of it.
        """
        ...

    def use(self, path: Path) -> None:
        """Make this bundle the live model, and end any trial."""
        ...

    def self_test(self, path: Path) -> SelfTest:
        """Open a bundle beside the live one and run its golden vectors."""
        ...

    def start_shadow(self, path: Path, rate: float) -> None:
        """Ask this bundle a share of the live model's inputs too, and use none of its answers."""
        ...

    def end_shadow(self) -> None:
        """Let the model in the shadow go; does nothing without one."""
        ...

    def start_trial(self, path: Path) -> None:
        """Make this bundle live and compare it, input by input, with the one that was."""
        ...

    def evidence(self) -> TrialEvidence:
        """What the shadow or the trial has shown so far."""
        ...

    def end_trial(self) -> None:
        """Keep the model on trial and stop comparing."""
        ...

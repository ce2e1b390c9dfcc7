"""`EngineOptions`: what a device's owner decides about its engine, the same for every engine."""

from __future__ import annotations

import msgspec

from .errors import EngineError

MOST_THREADS = 64


class EngineOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is run; `[inference]` of `device.toml`.

    `threads` work on one sample; generated C uses one whatever this says. `parallel` samples are
    answered at the same time, each in memory of its own: callers beyond them wait for their turn.
    `xnnpack` lets LiteRT hand the graph to XNNPACK; without it LiteRT's own kernels run.
    """

    threads: int = 1
    parallel: int = 1
    xnnpack: bool = True

    def check(self) -> None:
        """Refuse numbers that no engine takes.

        Raises:
            EngineError: naming the option and its limits.
        """
        for name, value in (("threads", self.threads), ("parallel", self.parallel)):
            if not 1 <= value <= MOST_THREADS:
                raise EngineError(f"'{name}' is {value}, not 1 to {MOST_THREADS}")


DEFAULT_OPTIONS = EngineOptions()

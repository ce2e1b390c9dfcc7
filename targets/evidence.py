"""What a number about a device is worth: `Tier`, `Estimate`, `Budget`.

The word "measured" belongs to T3 and T4 alone; `Tier.word` is what every surface prints.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from .errors import TargetError


class Tier(enum.IntEnum):
    """Where a number comes from, from weakest to strongest."""

    T0 = 0  # a datasheet
    T1 = 1  # fitted to published results
    T2 = 2  # emulated: QEMU instruction counts, Vela cycles
    T3 = 3  # measured on this host's runtime
    T4 = 4  # measured on the device

    @property
    def word(self) -> str:
        """The only word a surface may use for a number of this tier."""
        return ("estimated", "estimated", "emulated", "measured", "measured")[self.value]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with a central 80 % interval, the tier and the evidence behind it.

    `high` is therefore the upper bound at 90 %, the one that budgets are checked against.
    `unit` is one of `ms`, `bytes`, `mJ`, `instructions`, `cycles`.
    """

    value: float
    low: float
    high: float
    unit: str
    tier: Tier
    evidence_id: str

    def __post_init__(self) -> None:
        ordered = self.low <= self.value <= self.high
        if not ordered or not math.isfinite(self.high):
            interval = f"[{self.low}, {self.high}]"
            raise TargetError(
                f"estimate {self.value} {self.unit} is outside its interval {interval}"
            )

    @classmethod
    def exact(cls, value: float, unit: str, tier: Tier, evidence_id: str) -> Estimate:
        """An estimate without spread: bytes that a planner or an emitter counted."""
        return cls(value, value, value, unit, tier, evidence_id)


@dataclass(frozen=True, slots=True)
class Budget:
    """Upper limits for one target; `None` leaves a quantity unlimited."""

    latency_ms: float | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    energy_mj: float | None = None


@dataclass(frozen=True, slots=True)
class BudgetCheck:
    """One limit against one estimate, decided on the estimate's `high`."""

    quantity: str
    limit: float
    estimate: Estimate

    @property
    def passed(self) -> bool:
        """True when the upper bound keeps the limit."""
        return self.estimate.high <= self.limit

    @property
    def message(self) -> str:
        """One line: the quantity, by how much it holds or fails, and the tier."""
        ratio = self.estimate.high / self.limit if self.limit else math.inf
        verdict = "within" if self.passed else "over"
        digits = ".0f" if self.estimate.unit == "bytes" else ".4g"
        found, limit = format(self.estimate.high, digits), format(self.limit, digits)
        return (
            f"{self.quantity} {found} {self.estimate.unit} is {verdict} the budget of {limit} "
            f"({ratio:.0%}, {self.estimate.tier.word} {self.estimate.tier.name})"
        )


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one model costs on one target.

    `latency` is None where nothing prices it; `energy` where that is so, or nothing says what the
    target draws.
    """

    latency: Estimate | None
    ram: Estimate
    flash: Estimate
    energy: Estimate | None = None

    @property
    def timed(self) -> Estimate:
        """The latency; TargetError where nothing prices it."""
        if self.latency is None:
            raise TargetError("nothing prices this latency")
        return self.latency

    def check(self, budget: Budget) -> tuple[BudgetCheck, ...]:
        """Every limit that `budget` sets, checked against the upper bounds.

        Raises TargetError where it limits a latency or an energy that nothing prices.
        """
        latency = self.latency if budget.latency_ms is None else self.timed
        if budget.energy_mj is not None and self.energy is None:
            raise TargetError("nothing prices this energy")
        pairs = (
            ("latency", budget.latency_ms, latency),
            ("RAM", budget.ram_bytes, self.ram),
            ("flash", budget.flash_bytes, self.flash),
            ("energy", budget.energy_mj, self.energy),
        )
        return tuple(
            BudgetCheck(name, limit, est)
            for name, limit, est in pairs
            if limit is not None and est is not None
        )

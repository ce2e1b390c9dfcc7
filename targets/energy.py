"""What one inference takes in mJ: the power that a device draws while it runs, times how long.

The profile's `[power]` is a datasheet's range (T0), or what somebody has measured on the board. It
is no statement about sleep between inferences, nor about what hangs on the device beside its core.
"""

from __future__ import annotations

import dataclasses

from .evidence import Estimate, Footprint
from .target import Target


def energy_of(target: Target, latency: Estimate | None) -> Estimate | None:
    """mJ of one inference, of the weaker tier of the two; None where either is not known.

    Both ranges at their worst: wider than an 80 % interval where the two are independent.
    """
    power = target.power
    if power is None or latency is None:
        return None
    return Estimate(
        value=latency.value * power.value_mw / 1e3,
        low=latency.low * power.low_mw / 1e3,
        high=latency.high * power.high_mw / 1e3,
        unit="mJ",
        tier=min(latency.tier, power.tier),
        evidence_id=power.evidence_id,
    )


def with_energy(target: Target, cost: Footprint) -> Footprint:
    """`cost` with the energy that its latency makes on `target`."""
    return dataclasses.replace(cost, energy=energy_of(target, cost.latency))

"""`published_table`: what published results on other boards say about an engine on this one.

`published.toml` beside this module is what `python -m benchmarks.fit_published` found: cycles per
multiply-accumulate by engine and operator, and a factor by class of core. It prices an engine where
a profile has no table of its own. The ratios are those of whole boards that were left out of the
fit, the most extreme row of each: the interval speaks of every model on a new board.
"""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from .evidence import Tier
from .target import CostTable, OpCost, Target

FILE = Path(__file__).with_name("published.toml")
EVIDENCE_ID = "published-boards"
PRODUCTS = ("conv2d", "depthwise_conv2d", "fully_connected")  # the order of the weights
# What multiplies nothing loads a byte, works on it and never meets it again, like a dense layer.
OTHERS = ("add", "average_pool2d", "max_pool2d", "mean", "pad", "softmax")


class _Snapshot(msgspec.Struct, forbid_unknown_fields=True):
    schema: int
    source: str
    rows: int
    heldout_median_ape: float
    low_ratio: float
    high_ratio: float
    heldout_ratios: tuple[float, ...]
    classes: dict[str, float]
    engines: dict[str, tuple[float, float, float]]


def published_table(target: Target, engine: str, dtype: str) -> CostTable | None:
    """The T1 table of an engine on the class of the target's core, or None where none is known."""
    snapshot = _read()
    core = _class(target.core, snapshot)
    if target.device_class != "mcu" or dtype != "int8" or core is None:
        return None
    weights = snapshot.engines.get(engine)
    if weights is None:
        return None
    ns = [weight * snapshot.classes[core] * 1e9 / target.clock_hz for weight in weights]
    ops = {op: OpCost(0.0, cost, 0.0) for op, cost in zip(PRODUCTS, ns, strict=True)}
    ops |= {op: OpCost(0.0, 0.0, ns[2]) for op in OTHERS}
    return CostTable(
        ops={**ops, "reshape": OpCost(0.0, 0.0, 0.0)},
        engine=engine,
        dtype=dtype,
        tier=Tier.T1,
        evidence_id=EVIDENCE_ID,
        low_ratio=snapshot.low_ratio,
        high_ratio=snapshot.high_ratio,
        samples=snapshot.rows,
        heldout_median_ape=snapshot.heldout_median_ape,
        heldout_ratios=snapshot.heldout_ratios,
    )


def _class(core: str, snapshot: _Snapshot) -> str | None:
    """`cortex-m4f` is of class `cortex-m4`."""
    name = core.lower()
    names = (name, name.removesuffix("f"))
    return next((known for known in names if known in snapshot.classes), None)


@functools.cache
def _read() -> _Snapshot:
    return msgspec.toml.decode(FILE.read_bytes(), type=_Snapshot)

"""Fitting what one pass of each loop of our kernels takes, from layers counted one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .conformal import ratio_interval
from .errors import MeasurementError
from .evidence import Tier
from .fit import scaled_nnls
from .target import CostTable, OpCost
from .workload import LayerWork, Loops

FloatArray = npt.NDArray[np.float64]
Row = tuple[Loops, float]  # passes, and what they took


@dataclass(frozen=True, slots=True)
class CountedCall:
    """The work of a layer, or of layers that run together, with its loops; what it took."""

    works: tuple[LayerWork, ...]
    instructions: int


@dataclass(frozen=True, slots=True)
class CountedModel:
    """One int8 model in C on one core, call by call."""

    calls: tuple[CountedCall, ...]

    @property
    def works(self) -> tuple[LayerWork, ...]:
        """Of all layers."""
        return tuple(work for call in self.calls for work in call.works)

    @property
    def instructions(self) -> int:
        """Of one inference."""
        return sum(call.instructions for call in self.calls)


def fit_loops(
    probes: Sequence[CountedModel], held_out: Sequence[CountedModel], evidence_id: str
) -> CostTable:
    """The table, at one instruction a nanosecond, that explains every layer of `probes` best.

    Its interval is that of whole models of `held_out` (split), which take no part in the fit.

    Raises:
        MeasurementError: no probe has one of the loops of a held-out model.
    """
    calls = [call for probe in probes for call in probe.calls]
    ops = _alone([call for call in calls if len(call.works) == 1])
    ops = _together(ops, [call for call in calls if len(call.works) > 1])
    ratios = np.sort([model.instructions / predicted(model, ops) for model in held_out])
    low, high = ratio_interval(ratios)
    return CostTable(
        ops=ops,
        engine="c",
        dtype="int8",
        tier=Tier.T2,
        evidence_id=evidence_id,
        low_ratio=low,
        high_ratio=high,
        samples=len(probes),
        heldout_median_ape=float(np.median(np.abs(1 / ratios - 1))),
        interval="split",
        heldout_ratios=tuple(float(ratio) for ratio in ratios),
    )


def predicted(model: CountedModel, ops: Mapping[str, OpCost]) -> float:
    """Instructions of a model by the loops of `ops`. Raises MeasurementError as `fit_loops`."""
    total = 0.0
    for work in model.works:
        loops = ops[work.op].loops if work.op in ops else {}
        for name, passes in work.loops:
            if name not in loops:
                raise MeasurementError(f"no probe passes the loop '{name}' of '{work.op}'")
            total += loops[name] * passes
    return total


def _alone(calls: Sequence[CountedCall]) -> dict[str, OpCost]:
    """What the loops of each operator take, from layers that run by themselves."""
    by_op: dict[str, list[CountedCall]] = {}
    for call in calls:
        by_op.setdefault(call.works[0].op, []).append(call)
    return {op: OpCost(0.0, 0.0, 0.0, loops=_passes(*_rows(own))) for op, own in by_op.items()}


def _together(ops: Mapping[str, OpCost], calls: Sequence[CountedCall]) -> dict[str, OpCost]:
    """`ops` with the loops that layers have only where they run together.

    What a call took beyond the loops that are known is theirs; each is of one operator.
    """
    known = {op: cost.loops for op, cost in ops.items()}
    owner: dict[str, str] = {}
    rows: list[Row] = []
    for call in calls:
        left, new = float(call.instructions), []
        for work in call.works:
            for name, passes in work.loops:
                if name in known.get(work.op, {}):
                    left -= known[work.op][name] * passes
                else:
                    owner[name] = work.op
                    new.append((name, passes))
        rows.append((tuple(new), left))
    found = _passes(rows, [call.instructions for call in calls]) if owner else {}
    return {
        op: dataclasses.replace(
            cost, loops={**cost.loops, **{n: c for n, c in found.items() if owner[n] == op}}
        )
        for op, cost in ops.items()
    }


def _rows(calls: Sequence[CountedCall]) -> tuple[list[Row], list[int]]:
    """Loops and instructions of layers alone, and what errors are in proportion to."""
    counts = [call.instructions for call in calls]
    return [(c.works[0].loops, float(n)) for c, n in zip(calls, counts, strict=True)], counts


def _passes(rows: Sequence[Row], scale: Sequence[int]) -> dict[str, float]:
    """Instructions of one pass of every loop that explain best what each row took."""
    names = sorted({name for loops, _ in rows for name, _ in loops})
    columns = {name: index for index, name in enumerate(names)}
    design = np.zeros((len(rows), len(names)))
    for row, (loops, _) in zip(design, rows, strict=True):
        for name, passes in loops:
            row[columns[name]] = passes
    counts = np.array([count for _, count in rows], np.float64)
    solution = scaled_nnls(design, counts, np.array(scale, np.float64))
    return {name: float(cost) for name, cost in zip(names, solution, strict=True)}

"""What a candidate would cost on every target, before a second of training is paid for it.

Bytes, RAM and work are those of the real compile, because they come from the compiler's own passes
and emitter; a candidate takes a few milliseconds, and some more where a target runs C. The compile
gates C on its linked image: what that adds to arena and parameters, stack and code, the profile's
overheads reserve here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekiln.compiler.emit_c import c_sizes
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.gate import effective_budget
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.kernel_loops import workload_on
from edgekiln.compiler.plan import plan_arena
from edgekiln.targets.engines import first_engine
from edgekiln.targets.errors import NoCostTableError, UnsupportedOperatorError
from edgekiln.targets.estimate import (
    check_operators,
    estimate_latency,
    footprint,
    strongest_table,
)
from edgekiln.targets.evidence import Budget, Footprint
from edgekiln.targets.target import Target

from .errors import BudgetError, SearchError


@dataclass(frozen=True, slots=True)
class Verdict:
    """A candidate on one target. `reasons` says in sentences why it does not fit; empty: it fits.

    `excess` is the largest ratio of an upper bound to its limit. No footprint: the target cannot
    price one of the operators.
    """

    target_id: str
    footprint: Footprint | None
    reasons: tuple[str, ...]
    excess: float

    @property
    def fits(self) -> bool:
        """True when every limit holds."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Priced:
    """The exact sizes of one int8 graph and its verdicts, in the order of the targets.

    Targets that run C are judged by what their kernels need, which is not these sizes.
    """

    arena_bytes: int  # of the activations alone
    model_bytes: int  # of the .tflite file
    verdicts: tuple[Verdict, ...]

    @property
    def fits_any(self) -> bool:
        """True when at least one target can run it within its budget."""
        return any(verdict.fits for verdict in self.verdicts)


def price(graph: Graph, targets: Iterable[Target]) -> Priced:
    """Price an int8 graph on every target."""
    arena_bytes, model_bytes = plan_arena(graph).arena_bytes, len(emit_tflite(graph))
    priced = Priced(arena_bytes, model_bytes, ())
    verdicts = (_verdict(target, graph, priced) for target in targets)
    return dataclasses.replace(priced, verdicts=tuple(verdicts))


def check_targets(targets: Sequence[Target]) -> None:
    """Refuse targets that nothing can be priced on.

    Raises:
        SearchError: no target, one twice, or one without an int8 cost table of the engine that
            runs its best format.
        CompileError: an energy budget of a target whose profile does not say what it draws.
    """
    ids = [target.id for target in targets]
    if not ids or len(set(ids)) < len(ids):
        raise SearchError("a search needs at least one target, and each one once")
    for target in targets:
        effective_budget(target, None)
        try:
            strongest_table(target, first_engine(target), "int8")
        except NoCostTableError as error:
            raise SearchError(str(error)) from error


def nothing_fits(priced: Sequence[Priced]) -> BudgetError:
    """The error for targets that none of the candidates fits: the nearest miss on each."""
    misses = []
    for column in range(len(priced[0].verdicts)):
        nearest = min((item.verdicts[column] for item in priced), key=lambda v: v.excess)
        if not nearest.fits:
            misses.append(f"{nearest.target_id}: {'; '.join(nearest.reasons)}")
    return BudgetError(
        f"none of {len(priced)} candidates keeps the budget; the nearest on "
        f"{', on '.join(misses)}; raise these limits or choose a larger target"
    )


def _sizes(graph: Graph, target: Target, plain: Priced) -> tuple[int, int]:
    """Bytes of arena and of model in the target's best format."""
    if target.formats[0] != "c":
        return plain.arena_bytes, plain.model_bytes
    sizes = c_sizes(graph, family_of_core(target.core))
    return sizes.arena_bytes, sizes.constant_bytes


def _verdict(target: Target, graph: Graph, plain: Priced) -> Verdict:
    engine = first_engine(target)
    work = workload_on(graph, target, engine)
    try:
        check_operators(target, work)
        latency = estimate_latency(target, work, engine)
    except UnsupportedOperatorError as error:
        return Verdict(target.id, None, (str(error),), math.inf)
    arena_bytes, model_bytes = _sizes(graph, target, plain)
    cost = footprint(target, latency, arena_bytes, model_bytes)
    return _judged(target.id, cost, effective_budget(target, None))


def _judged(target_id: str, cost: Footprint, budget: Budget) -> Verdict:
    checks = cost.check(budget)
    reasons = tuple(check.message for check in checks if not check.passed)
    ratios = (
        check.estimate.high / check.limit if check.limit > 0 else math.inf for check in checks
    )
    return Verdict(target_id, cost, reasons, max(ratios, default=0.0))

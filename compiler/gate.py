"""The compile gate: nothing leaves the compiler that its target could not run, or that got dumb.

Pure: estimates and budgets in, a `runtime.manifest.Gate` out. Resource limits are checked against
the upper bound of an estimate. Accuracy is checked once, on the compiled model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from edgekiln.runtime.manifest import Gate, GateCheck
from edgekiln.targets.evidence import Budget, BudgetCheck, Footprint
from edgekiln.targets.target import Target

from .errors import CompileError, GateError

_Limit = TypeVar("_Limit", int, float)


@dataclass(frozen=True, slots=True)
class AccuracyLimits:
    """On the validation split; `max_drop` is float minus compiled. No `minimum`, no check of it."""

    max_drop: float = 0.02
    minimum: float | None = None


@dataclass(frozen=True, slots=True)
class Priced:
    """One artifact's cost on its target, and the limits that it is held to."""

    target: str
    format: str
    footprint: Footprint
    budget: Budget


def effective_budget(target: Target, requested: Budget | None) -> Budget:
    """The request's limits over the target's; never more memory than the device has.

    Raises:
        CompileError: an energy limit on a target whose profile does not say what it draws.
    """
    asked = requested or Budget()
    own = target.budget
    energy_mj = _first(asked.energy_mj, own.energy_mj)
    if energy_mj is not None and target.power is None:
        raise CompileError(
            f"{target.id}: an energy budget cannot be checked, its profile does not say what it "
            "draws; add [power] active_mw = [low, value, high], or remove energy_mj"
        )
    memory = target.memory
    return Budget(
        latency_ms=_first(asked.latency_ms, own.latency_ms),
        ram_bytes=_at_most(_first(asked.ram_bytes, own.ram_bytes), memory.ram_available_bytes),
        flash_bytes=_at_most(
            _first(asked.flash_bytes, own.flash_bytes), memory.flash_available_bytes
        ),
        energy_mj=energy_mj,
    )


def check_gate(
    float_accuracy: float | None,
    accuracy: float,
    limits: AccuracyLimits,
    artifacts: Iterable[Priced],
    numerics: str = "int8",
) -> Gate:
    """Every check, in the order accuracy, then artifact by artifact.

    `float_accuracy` is None for a model that came quantized: it has nothing to lose by it.
    `accuracy` is that of the compiled model, whose number format `numerics` names.
    """
    checks = []
    if float_accuracy is not None:
        checks.append(_drop_check(float_accuracy, accuracy, limits, numerics))
    if limits.minimum:
        checks.append(_minimum_check(accuracy, limits.minimum, numerics))
    for artifact in artifacts:
        place = f"{artifact.target}/{artifact.format}"
        checks += [_resource_check(place, c) for c in artifact.footprint.check(artifact.budget)]
    return Gate(passed=all(check.passed for check in checks), checks=tuple(checks))


def enforce(gate: Gate, force_reason: str) -> Gate:
    """The gate as it goes into the manifest: passed, or failed with the reason to ship anyway.

    Raises:
        GateError: the gate failed and nobody gave a reason; lists every failure in one line.
    """
    if gate.passed:
        return gate
    reason = force_reason.strip()
    if not reason:
        failures = "; ".join(check.message for check in gate.checks if not check.passed)
        raise GateError(failures)
    return Gate(passed=False, checks=gate.checks, forced_reason=reason)


def overrun(artifact: Priced) -> str:
    """What an artifact is over its budget by, in a sentence; nothing where it keeps it."""
    checks = artifact.footprint.check(artifact.budget)
    return "; ".join(check.message for check in checks if not check.passed)


def _drop_check(
    float_accuracy: float, accuracy: float, limits: AccuracyLimits, numerics: str
) -> GateCheck:
    drop = float_accuracy - accuracy
    # Accuracies are ratios of counts: a drop that equals its limit in decimals must pass.
    fits = drop <= limits.max_drop + 1e-9
    verdict = f"{numerics} accuracy {accuracy:.4f} against float {float_accuracy:.4f}"
    return GateCheck(
        quantity="accuracy drop",
        limit=limits.max_drop,
        found=drop,
        passed=fits,
        message=verdict
        if fits
        else f"{verdict}: {drop:.4f} is lost where {limits.max_drop:.4f} may be; "
        "distil from a teacher, choose a wider candidate, or calibrate on more samples",
    )


def _minimum_check(accuracy: float, minimum: float, numerics: str) -> GateCheck:
    enough = accuracy >= minimum - 1e-9
    verdict = f"{numerics} accuracy {accuracy:.4f} against a minimum of {minimum:.4f}"
    return GateCheck(
        quantity="accuracy",
        limit=minimum,
        found=accuracy,
        passed=enough,
        message=verdict
        if enough
        else f"{verdict}: {minimum - accuracy:.4f} is missing; "
        "search longer, allow a larger model, or add data",
    )


def _resource_check(place: str, check: BudgetCheck) -> GateCheck:
    message = f"{place}: {check.message}"
    return GateCheck(
        quantity=f"{place} {check.quantity}",
        limit=float(check.limit),
        found=float(check.estimate.high),
        passed=check.passed,
        message=message if check.passed else f"{message}: {_remedy(check)}",
    )


def _remedy(check: BudgetCheck) -> str:
    """What would bring a failed check back within its limit."""
    excess = check.estimate.high - check.limit
    if check.quantity == "latency":
        return _latency_remedy(check)
    if check.quantity == "RAM":
        return (
            f"needs {excess:.0f} bytes less of activations: "
            "fewer channels or an earlier stride in the first layers"
        )
    return f"needs {excess:.0f} bytes less of weights: fewer channels in the last layers"


def _latency_remedy(check: BudgetCheck) -> str:
    """Time goes with MACs; where only the upper bound is over, a surer estimate helps too."""
    estimate = check.estimate
    if check.limit <= 0:
        return "no model runs in no time; raise the limit"
    remedy = f"needs {estimate.high / check.limit:.2f}× fewer MACs"
    if estimate.value <= check.limit:
        remedy += (
            f" or a surer estimate (it lies between {estimate.low:.3g} and {estimate.high:.3g})"
        )
    return remedy


def _first(first: _Limit | None, second: _Limit | None) -> _Limit | None:
    return second if first is None else first


def _at_most(limit: int | None, ceiling: int) -> int:
    return ceiling if limit is None else min(limit, ceiling)

"""What the demo found: the JSON document, also the source of the summary and the report."""

from __future__ import annotations

import msgspec

from edgekiln.runtime.manifest import EstimateRecord


class FrontMember(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a target's Pareto front."""

    target: str
    candidate: str
    kind: str  # network | baseline
    accuracy: float  # on the validation split
    latency: EstimateRecord
    ram_bytes: int
    flash_bytes: int
    chosen: bool


class SearchOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How much was explored, and what was left."""

    search_id: str
    candidates: int
    rejected: int  # by the sieve, before any training: they fit no target
    refused: dict[str, int]  # candidates over the budget of each target
    trained: int
    baseline_accuracy: float
    front: tuple[FrontMember, ...]
    wall_s: float


class CompileOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact."""

    target: str
    format: str
    bytes: int
    accuracy_float: float | None
    accuracy_int8: float
    latency: EstimateRecord
    ram_bytes: int
    flash_bytes: int
    bundle_id: str
    notes: tuple[str, ...] = ()


class TestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The sealed test split, opened once, for the released model and the baseline."""

    samples: int
    accuracy_int8: float
    baseline_accuracy: float


class RolloutOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the release, read from live sessions."""

    devices: int
    committed: int
    waves: int
    release: str
    wall_s: float


class DriftOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The alert, and whether anyone cried wolf."""

    alerts: int
    drifted_cohort: str
    false_alerts: int
    features: tuple[str, ...]
    summary: str
    seconds_to_alert: float


class RollbackOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The bad release: who ran it, who is back."""

    exposed_devices: int
    restored_devices: int
    untouched_devices: int
    release: str
    forced_reason: str
    decision: str


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything."""

    search: SearchOutcome
    compile: tuple[CompileOutcome, ...]
    test: TestOutcome
    rollout: RolloutOutcome
    drift: DriftOutcome
    rollback: RollbackOutcome
    notes: tuple[str, ...]
    report: str  # path of the HTML report
    dashboard: str  # address while the fleet is kept running, else empty
    stage_s: dict[str, float]
    wall_s: float
    peak_rss_mb: float

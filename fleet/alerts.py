"""Drift in the fleet: which cohort drifts, in which features, and how sure that is. Pure.

Devices find drift themselves, with a detector whose rate of false alarms is bounded; the fleet
asks whom it concerns. A cohort alerts when at least two of its reporting devices and at least
60 % of them alarm. Devices that an alerting cohort explains do not count for a larger one, nor for
another release: a canary in a drifting cohort drifts because of the cohort.

**Distance.** A feature's windows are added up over the cohort's devices: counts in 16 bins that
hold equal mass in the training data, so the distance is the total variation (TV) between the
merged shares and 1/16 each, 0 to 1. For `classes` the bins are the classes, and the shares to
compare with are those of the model's answers on the training data.

**Threshold.** For N independent samples from the reference itself, E[TV] <= sqrt((B-1)/N) / 2
(Cauchy-Schwarz over the B bins), and TV moves by at most 1/N per sample, so McDiarmid's
inequality gives P(TV >= E[TV] + t) <= exp(-2 N t^2). With the bins' edges estimated from R
training samples the same bound, with R, is added (triangle inequality):
    threshold(N) = sqrt((B-1)/N)/2 + sqrt(ln(K/alpha)/(2N)), threshold = threshold(N) + threshold(R)
where alpha is shared by the K features. It holds at every N, without an asymptotic argument.
Samples of one device are not independent, so the threshold marks what chance could explain and is
shown beside the distance; the alarm itself rests on the devices' detectors.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from edgekiln.runtime.drift import RUN_LENGTH
from edgekiln.runtime.protocol import FeatureWindow, Report

from .model import Alert, FeatureEvidence
from .twin import alarms

BINS = 16
ALPHA = 0.01
MIN_DEVICES = 2
MIN_SHARE = 0.6
FEATURES_SHOWN = 10
QUIET_S = 3600.0  # what was not seen for so long is over; seen again, it is a new alert
CLOSED_ACTION = "closed by itself: not seen for an hour"
RUNBOOK = "docs/runbooks/drift.md"


@dataclass(frozen=True, slots=True)
class Reporting:
    """A device's latest window and the cohorts it is in."""

    device: str
    cohorts: tuple[str, ...]
    report: Report


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a release was trained on: samples behind its bins, share of answers per class.

    0 samples: the reference is taken as exact. No shares: all classes are taken as equal.
    """

    samples: int = 0
    classes: tuple[float, ...] = ()


UNKNOWN = Baseline()


@dataclass(frozen=True, slots=True)
class Finding:
    """A cohort whose devices drift under one release."""

    cohort: str
    release: str
    devices: tuple[str, ...]  # in alarm
    reporting: int
    features: tuple[FeatureEvidence, ...]  # in alarm, farthest first
    quiet: tuple[str, ...]  # cohorts without an alarm, for contrast

    @property
    def fingerprint(self) -> str:
        """Names the cause: nothing that changes from window to window is in it."""
        return fingerprint("drift", self.cohort, self.release)


def fingerprint(kind: str, cohort: str, release: str) -> str:
    """16 hex digits that name a cause."""
    return hashlib.sha256("\0".join((kind, cohort, release)).encode()).hexdigest()[:16]


def detect(
    reporting: Iterable[Reporting], baselines: Mapping[str, Baseline]
) -> tuple[Finding, ...]:
    """Every cohort that drifts, judged per release.

    `baselines` is per release; one without an entry is judged as if its reference were exact.
    """
    by_release: dict[str, list[Reporting]] = {}
    everybody: dict[str, set[str]] = {}
    for item in reporting:
        by_release.setdefault(item.report.bundle_id, []).append(item)
        for cohort in item.cohorts:
            everybody.setdefault(cohort, set()).add(item.device)
    explained: set[str] = set()
    findings: list[Finding] = []
    # What most devices run comes first: it shows best which cohort it is.
    for release, items in sorted(by_release.items(), key=lambda one: (-len(one[1]), one[0])):
        found = _detect(release, items, baselines.get(release, UNKNOWN), everybody, explained)
        findings.extend(found)
        explained = explained.union(*(everybody[finding.cohort] for finding in found))
    return tuple(findings)


def distance(bins: Sequence[int], expected: Sequence[float] = ()) -> float:
    """Total variation between the shares of `bins` and `expected`, or equal mass without it."""
    total = sum(bins)
    if not total:
        return 0.0
    shares = expected or [1.0 / len(bins)] * len(bins)
    return sum(abs(n / total - share) for n, share in zip(bins, shares, strict=True)) / 2.0


def threshold(
    samples: int, reference_samples: int, features: int, bins: int = BINS, alpha: float = ALPHA
) -> float:
    """What chance explains at these sample sizes, see the module's text; at most 1."""
    if not samples:
        return 1.0
    sizes = (samples, reference_samples) if reference_samples else (samples,)
    confidence = math.log(max(1, features) / alpha)
    bound = sum(math.sqrt((bins - 1) / n) / 2.0 + math.sqrt(confidence / (2.0 * n)) for n in sizes)
    return min(1.0, bound)


def merge(alert: Alert | None, finding: Finding, now_s: float, runbook: str = RUNBOOK) -> Alert:
    """The alert after a finding: a new one, or the one that tells of this cause already."""
    known = alert is not None and (alert.state == "open" or now_s - alert.last_seen_s < QUIET_S)
    if alert is not None and known:
        return msgspec.structs.replace(
            alert,
            last_seen_s=now_s,
            devices=finding.devices,
            features=finding.features,
            summary=summarise(finding),
        )
    return Alert(
        alert_id=0,
        fingerprint=finding.fingerprint,
        kind="drift",
        cohort=finding.cohort,
        release=finding.release,
        opened_s=now_s,
        last_seen_s=now_s,
        devices=finding.devices,
        features=finding.features,
        summary=summarise(finding),
        runbook=runbook,
    )


def over(alert: Alert, now_s: float) -> bool:
    """Whether an open drift alert can be closed: its cause was not seen for `QUIET_S`."""
    quiet = now_s - alert.last_seen_s >= QUIET_S
    return alert.kind == "drift" and alert.state == "open" and quiet


def summarise(finding: Finding) -> str:
    """One line for people."""
    names = ", ".join(f.feature for f in finding.features[:3])
    more = len(finding.features) - 3
    names += f" and {more} more" if more > 0 else ""
    text = (
        f"{len(finding.devices)} of {finding.reporting} devices of {finding.cohort} "
        f"see other data than the model was trained on: {names}"
    )
    return f"{text}; {', '.join(finding.quiet)} quiet" if finding.quiet else text


def _detect(
    release: str,
    items: list[Reporting],
    baseline: Baseline,
    everybody: Mapping[str, set[str]],
    explained: set[str],
) -> list[Finding]:
    alarming = {item.device for item in items if alarms(item.report)}
    cohorts = sorted({cohort for item in items for cohort in item.cohorts})
    members = {c: {i.device for i in items if c in i.cohorts} for c in cohorts}
    found: list[str] = []

    def worse(cohort: str) -> tuple[float, int, int, str]:
        """The largest share in alarm explains best; of equals, the most devices that run this
        release, and the cohort that has the fewest others."""
        here = members[cohort]
        return -_share(here, alarming), -len(here), len(everybody[cohort]), cohort

    for cohort in sorted(cohorts, key=worse):
        left = members[cohort] - explained
        if _drifts(left, alarming) and _drifts(members[cohort], alarming):
            found.append(cohort)
            explained = explained | members[cohort]
    quiet = tuple(c for c in cohorts if not members[c] & alarming)
    return [
        Finding(
            cohort=cohort,
            release=release,
            devices=tuple(sorted(members[cohort] & alarming)),
            reporting=len(members[cohort]),
            features=_features([i for i in items if i.device in members[cohort]], baseline),
            quiet=quiet,
        )
        for cohort in found
    ]


def _drifts(members: set[str], alarming: set[str]) -> bool:
    return len(members & alarming) >= MIN_DEVICES and _share(members, alarming) >= MIN_SHARE


def _share(members: set[str], alarming: set[str]) -> float:
    return len(members & alarming) / len(members) if members else 0.0


def _features(here: Sequence[Reporting], baseline: Baseline) -> tuple[FeatureEvidence, ...]:
    windows: dict[str, list[FeatureWindow]] = {}
    for item in here:
        for window in (*item.report.features, item.report.confidence):
            windows.setdefault(window.name, []).append(window)
    classes = [item.report.class_drift for item in here]
    watched = len(windows) + 1
    judged = [_evidence(seen, baseline.samples, watched) for seen in windows.values()]
    judged.append(_evidence(classes, baseline.samples, watched, baseline.classes))
    evidence = [one for one in judged if one.devices]
    evidence.sort(key=lambda e: (-e.devices, -e.distance, e.feature))
    return tuple(evidence[:FEATURES_SHOWN])


def _evidence(
    seen: Sequence[FeatureWindow],
    reference_samples: int,
    watched: int,
    expected: Sequence[float] = (),
) -> FeatureEvidence:
    merged = [sum(counts) for counts in zip(*(window.bins for window in seen), strict=True)]
    samples = sum(merged)
    return FeatureEvidence(
        feature=seen[0].name,
        devices=sum(window.alarm for window in seen),
        max_evidence=max(window.evidence for window in seen),
        distance=distance(merged, expected),
        threshold=threshold(samples, reference_samples, watched, len(merged)),
        samples=samples,
        alarm_at=float(RUN_LENGTH * watched),
    )

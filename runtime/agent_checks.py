"""The agent's decisions, as pure functions: what to take up, what to refuse, what has passed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .protocol import DeviceState, RolloutDocument, SelfTestLimits, TrialEvidence
from .record import AgentRecord, ReleaseInfo
from .shadow import Verdict
from .wave import joins

DAY_S = 86400.0
HANG_S = 30.0  # without an answer to one call
_HEX_64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Device:
    """What the device is, as far as an offer has to fit it. 0 bytes: not known, not checked.

    `flash_bytes` is what one slot may hold.
    """

    device_id: str
    target: str
    cohorts: tuple[str, ...]
    ram_bytes: int
    flash_bytes: int


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What a bundle showed on this device before its trial."""

    bundle_id: str
    golden_max_lsb: int
    golden_allowed_lsb: int  # by the bundle
    mismatching_labels: int
    p95_ms: float
    rss_bytes: int


def next_offer(
    documents: Iterable[RolloutDocument], record: AgentRecord, device_id: str, now_s: float
) -> RolloutDocument | None:
    """The first document that names this device and has not ended here before."""
    for document in documents:
        open_now = document.not_before_s <= now_s and not _expired(document, now_s)
        fresh = record.outcome_of(document.rollout_id) is None
        if not document.aborted and open_now and fresh and joins(document, device_id):
            return document
    return None


def to_revert(documents: Iterable[RolloutDocument], record: AgentRecord) -> RolloutDocument | None:
    """The aborted document whose release this device took from it and still runs.

    None where there is nothing to go back to: the release is the one from the factory.
    """
    good = record.last_known_good
    if good is None or not (record.previous_good or good.rollout_id):
        return None
    for document in documents:
        took = record.outcome_of(document.rollout_id) == DeviceState.COMMITTED
        if document.aborted and took and good.bundle_id == document.release:
            return document
    return None


def why_superseded(documents: Iterable[RolloutDocument], record: AgentRecord) -> str:
    """Why the rollout in hand must be dropped; empty when it goes on."""
    mine = record.document
    if mine is None:
        return ""
    for document in documents:
        if document.rollout_id == mine.rollout_id and document.aborted:
            return "the rollout was aborted"
        other = document.rollout_id != mine.rollout_id and document.cohort == mine.cohort
        if other and not document.aborted and record.outcome_of(document.rollout_id) is None:
            return f"rollout {document.rollout_id} took its place"
    return ""


def why_refused(document: RolloutDocument, release: ReleaseInfo, device: Device, floor: int) -> str:
    """Why the release can never be installed here; empty when it may be fetched."""
    if not (_HEX_64.fullmatch(document.release) and _HEX_64.fullmatch(release.sha256)):
        return "the release is not named by a sha256"
    if document.release != release.bundle_id or document.sha256 != release.sha256:
        return "the rollout and the signed repository name different bundles"
    if device.target not in release.targets:
        known = ", ".join(release.targets) or "none"
        return f"the release has no artifact for target '{device.target}' (it has: {known})"
    if release.security_counter < floor:
        return f"its security counter {release.security_counter} is below this device's {floor}"
    return _why_too_large(release, device)


def why_not_now(document: RolloutDocument, now_s: float) -> str:
    """Why tests may not begin at this time of day; empty when they may.

    A window may pass midnight: (79200, 14400) is 22:00 to 04:00.
    """
    if document.window_s is None:
        return ""
    start_s, end_s = (value % DAY_S for value in document.window_s)
    time_s = now_s % DAY_S
    is_open = start_s <= time_s < end_s if start_s < end_s else not end_s <= time_s < start_s
    return "" if is_open else f"the rollout's window opens at {_clock(start_s)} UTC"


def why_test_failed(result: SelfTest, limits: SelfTestLimits, expected_bundle: str) -> str:
    """What the self-test found wrong; empty when it passed."""
    if result.bundle_id != expected_bundle:
        return f"the file holds bundle {result.bundle_id[:12]}, not {expected_bundle[:12]}"
    allowed = limits.golden_max_lsb
    if allowed is None:
        allowed = result.golden_allowed_lsb
    if result.golden_max_lsb > allowed:
        return (
            f"golden vectors differ by {result.golden_max_lsb} LSB "
            f"(limit {allowed}), {result.mismatching_labels} labels flipped"
        )
    if result.p95_ms > limits.max_p95_ms:
        return f"p95 latency is {result.p95_ms:.3g} ms, limit {limits.max_p95_ms:.3g} ms"
    return _why_rss(result.rss_bytes, limits)


def why_shadow_failed(
    evidence: TrialEvidence, verdict: Verdict, limits: SelfTestLimits, rss_bytes: int
) -> str:
    """What the shadow phase has shown to be wrong so far; empty while nothing is."""
    if evidence.failures:
        return f"shadow: {evidence.failures} predictions failed, {evidence.samples} did not"
    answers = f"{evidence.disagreements} of {evidence.samples} answers differ"
    allowed = f"limit {limits.shadow.max_disagreement:.0%}" if limits.shadow else ""
    if verdict is Verdict.FAIL:
        return f"shadow: {answers}, {allowed}"
    if verdict is Verdict.INCONCLUSIVE:
        return f"shadow: inconclusive, {answers}, {allowed}"
    if verdict is Verdict.PASS and evidence.p95_latency_ms > limits.max_p95_ms:
        p95 = evidence.p95_latency_ms
        return f"shadow: p95 latency is {p95:.3g} ms, limit {limits.max_p95_ms:.3g} ms"
    return _why_rss(rss_bytes, limits)


def why_stuck(stuck_s: float) -> str:
    """Whether a new model has to be taken for hung; empty when it may still answer."""
    return f"the new model has not answered for {stuck_s:.0f} s" if stuck_s > HANG_S else ""


def why_trial_failed(evidence: TrialEvidence, limits: SelfTestLimits, rss_bytes: int) -> str:
    """What the trial has shown to be wrong so far; empty while nothing is."""
    if evidence.failures:
        return f"{evidence.failures} of {evidence.samples} predictions failed"
    if evidence.samples >= limits.trial_samples:
        share = evidence.disagreements / max(evidence.samples, 1)
        if share > limits.max_disagreement:
            return (
                f"disagrees with the last known good model on {share:.0%} of "
                f"{evidence.samples} inputs, limit {limits.max_disagreement:.0%}"
            )
        if evidence.p95_latency_ms > limits.max_p95_ms:
            p95 = evidence.p95_latency_ms
            return f"p95 latency on trial is {p95:.3g} ms, limit {limits.max_p95_ms:.3g} ms"
    return _why_rss(rss_bytes, limits)


def _why_rss(rss_bytes: int, limits: SelfTestLimits) -> str:
    if rss_bytes > limits.max_rss_bytes:
        return f"the process holds {rss_bytes} bytes, limit {limits.max_rss_bytes}"
    return ""


def _why_too_large(release: ReleaseInfo, device: Device) -> str:
    ram = release.ram_bytes.get(device.target, 0)
    if device.ram_bytes and ram > device.ram_bytes:
        return f"it needs {ram} bytes of RAM, the device has {device.ram_bytes}"
    flash = max(release.bytes, release.flash_bytes.get(device.target, 0))
    if device.flash_bytes and flash > device.flash_bytes:
        return f"it needs {flash} bytes of flash, a slot of this device has {device.flash_bytes}"
    return ""


def _expired(document: RolloutDocument, now_s: float) -> bool:
    return 0 < document.expires_s <= now_s


def _clock(time_s: float) -> str:
    return f"{int(time_s // 3600):02d}:{int(time_s % 3600 // 60):02d}"

"""`Engine`: looks, decides, acts. Everything it knows is in the store, so it may stop anywhere.

A decision is written down before it is published: after a restart the documents are published
again from the store, and a device ignores a version that it has seen.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from edgekiln.runtime.bundle import open_bundle
from edgekiln.runtime.errors import BundleError
from edgekiln.runtime.protocol import Topics
from edgekiln.runtime.signing import sign_document

from .alerts import (
    CLOSED_ACTION,
    UNKNOWN,
    Baseline,
    Finding,
    Reporting,
    detect,
    fingerprint,
    merge,
    over,
)
from .errors import FleetError, RolloutError, UnknownAlertError
from .evidence import history
from .exposures import (
    SALT_ATTEMPTS,
    Context,
    choose_salt,
    document,
    judge,
    open_exposures,
    summarise,
    wave_members,
    wave_permille,
)
from .folder import FleetFolder
from .link import Publisher
from .model import Alert, Release, Rollout, RolloutEvent, RolloutEvidence, RolloutState
from .registry import match_release, quarantine
from .repository import refresh_online
from .requests import StartRollout, why_mirrors_are_wrong, why_window_is_too_short
from .rollout import LIVE, Action, Move, decide, go_on, move
from .store import Store
from .twin import Arm, Twin

LIFETIME_S = 7 * 86400.0  # of a signed document; renewed when half of it is over
FRESH_S = 300.0  # older windows say nothing about now
MIN_WAIT_S = 600.0
SEEN_EVERY_S = 30.0
REFRESH_EVERY_S = 600.0


class Engine:
    """One per fleet. Thread-safe: the API calls it while the server's loop ticks."""

    def __init__(
        self,
        folder: FleetFolder,
        store: Store,
        publisher: Publisher,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """`clock` gives Unix seconds, `new_id` random ids and salts.

        Raises:
            FleetFolderError: the online rollout key is not here.
        """
        self._folder = folder
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._new_id = new_id
        self._topics = Topics(folder.tenant)
        self._key = folder.private_key("rollout")
        self._lock = threading.RLock()
        self._baselines: dict[str, Baseline] = {}
        self._refreshed_s = 0.0

    def start_rollout(self, request: StartRollout) -> Rollout:
        """Begin with the first wave.

        Raises:
            ReleaseError: no such release.
            RolloutError: the release is quarantined, the cohort is unknown or busy, or the waves
                make no sense.
        """
        with self._lock:
            release = match_release(self._store, request.release)
            members = self._members(request.cohort)
            self._check_start(request, release, members)
            salts = (self._new_id() for _ in range(SALT_ATTEMPTS))
            salt = choose_salt(request.waves, members, request.holdback_permille, salts)
            now_s = self._clock()
            rollout = Rollout(
                rollout_id=self._new_id(),
                release=release.bundle_id,
                cohort=request.cohort,
                waves=request.waves,
                salt=salt,
                state=RolloutState.ACTIVE,
                wave=0,
                version=self._next_version(),
                permille=0,
                started_s=now_s,
                wave_started_s=now_s,
                soak_s=request.soak_s,
                deadline_s=request.deadline_s,
                max_wait_s=max(MIN_WAIT_S, 2 * request.deadline_s + request.soak_s),
                holdback_permille=request.holdback_permille,
                target_path=release.target_path,
                sha256=release.sha256,
                expires_s=now_s + LIFETIME_S,
                mirrors=request.mirrors,
                limits=request.limits,
                window_s=request.window_s,
            )
            permille = self._permille(rollout, 0, members)
            rollout = msgspec.structs.replace(rollout, permille=permille)
            text = f"release {release.name} to {len(members)} devices of {request.cohort}"
            self._record(rollout, Action(Move.STARTED, text), None)
            self._publish(rollout)
            return rollout

    def abort(self, rollout_id: str, reason: str) -> Rollout:
        """Send every device that took the release back; a person's word, so no quarantine.

        Raises:
            RolloutError: no such rollout, or it has been aborted already.
        """
        with self._lock:
            rollout = self._store.rollout(rollout_id)
            return self._act(rollout, Action(Move.ABORTED, f"by a person: {reason}"), None)

    def pause(self, rollout_id: str, reason: str) -> Rollout:
        """Begin no further wave until resumed; devices of the present wave go on.

        Raises:
            RolloutError: no such rollout, or it is not running.
        """
        with self._lock:
            rollout = self._store.rollout(rollout_id)
            return self._act(rollout, Action(Move.PAUSED, f"by a person: {reason}"), None)

    def resume(self, rollout_id: str, reason: str) -> Rollout:
        """Go on: again where it was paused, with the next wave where it was inconclusive.

        Raises:
            RolloutError: no such rollout, or it is not waiting for a person.
        """
        with self._lock:
            rollout = self._store.rollout(rollout_id)
            return self._act(rollout, go_on(rollout, f"by a person: {reason}"), None)

    def acknowledge(self, alert_id: int, reason: str) -> Alert:
        """Take an alert into a person's hands.

        Raises:
            UnknownAlertError: no such alert.
        """
        with self._lock:
            for alert in self._store.alerts():
                if alert.alert_id == alert_id:
                    taken = msgspec.structs.replace(
                        alert, state="acknowledged", action=f"acknowledged: {reason}"
                    )
                    return self._store.put_alert(taken)
        raise UnknownAlertError(f"no alert {alert_id} in this fleet")

    def tick(self, now_s: float | None = None) -> None:
        """Look at everything once: rollouts, alerts, and what is about to expire."""
        with self._lock:
            now_s = self._clock() if now_s is None else now_s
            twins = self._store.twins()
            for rollout in self._store.rollouts():
                if rollout.state in LIVE:
                    self._advance(rollout, twins, now_s)
            self._renew(now_s)
            self._watch(now_s)
            if now_s - self._refreshed_s > REFRESH_EVERY_S:
                self._refreshed_s = now_s
                with self._folder.publishing():
                    refresh_online(self._folder)

    def publish_all(self) -> None:
        """Begin anew with a broker that may have forgotten everything; call at each connection.

        Publishes each cohort's latest document again. Nobody counts as online until the broker
        hands out their birth, which it does right after.
        """
        self._store.forget_presence()
        for rollout in self._latest():
            self._publish(rollout)

    def evidence(self, rollout_id: str) -> RolloutEvidence:
        """A rollout's evidence as of now.

        Raises:
            RolloutError: no such rollout.
        """
        rollout = self._store.rollout(rollout_id)
        context = self._context(rollout, self._store.twins(), self._clock())
        return self._summary(context)

    def _advance(self, rollout: Rollout, twins: dict[str, Twin], now_s: float) -> None:
        context = self._context(rollout, twins, now_s)
        known = self._store.exposures(rollout.rollout_id)
        begun = open_exposures(context, known)
        judged = tuple(judge(context, exposure) for exposure in (*known, *begun))
        before = set(known)
        self._store.put_exposures(e for e in judged if e not in before)
        evidence = self._summary(context)
        for action in decide(rollout, evidence, wave_members(context), now_s):
            after = self._act(rollout, action, evidence, now_s)
            if after.state is RolloutState.ABORTED:
                self._stop_release(after, now_s)

    def _summary(self, context: Context) -> RolloutEvidence:
        exposures = self._store.exposures(context.rollout.rollout_id)
        return summarise(context, exposures, history(*self._store.history()))

    def _act(
        self,
        rollout: Rollout,
        action: Action,
        evidence: RolloutEvidence | None,
        now_s: float | None = None,
    ) -> Rollout:
        now_s = self._clock() if now_s is None else now_s
        permille = rollout.permille
        if action.move is Move.ADVANCED:
            permille = self._permille(rollout, rollout.wave + 1, self._members(rollout.cohort))
        after = move(rollout, action, permille, now_s)
        if action.move in (Move.ADVANCED, Move.ABORTED):
            after = msgspec.structs.replace(
                after, version=self._next_version(), expires_s=now_s + LIFETIME_S
            )
        self._record(after, action, evidence)
        if after.version != rollout.version:
            self._publish(after)
        return after

    def _record(self, rollout: Rollout, action: Action, evidence: RolloutEvidence | None) -> None:
        self._store.record_decision(
            rollout,
            RolloutEvent(
                rollout_id=rollout.rollout_id,
                at_s=self._clock(),
                kind=action.move.value,
                text=f"{action.move}: {action.reason}",
                wave=rollout.wave,
                evidence=evidence,
            ),
        )

    def _publish(self, rollout: Rollout) -> None:
        topic = self._topics.cohort(rollout.cohort, "rollout")
        self._publisher.retain(topic, sign_document(document(rollout), self._key))

    def _stop_release(self, rollout: Rollout, now_s: float) -> None:
        quarantine(self._store, rollout.release, rollout.reason)
        cause = fingerprint("rollout", rollout.cohort, rollout.release)
        exposures = self._store.exposures(rollout.rollout_id)
        self._store.put_alert(
            Alert(
                alert_id=0,
                fingerprint=cause,
                kind="rollout",
                cohort=rollout.cohort,
                release=rollout.release,
                opened_s=now_s,
                last_seen_s=now_s,
                devices=tuple(e.device for e in exposures if e.arm is Arm.CANARY),
                features=(),
                summary=f"rollout {rollout.rollout_id} aborted: {rollout.reason}",
                runbook="docs/runbooks/rollout.md",
                action="aborted the rollout and quarantined the release",
            )
        )

    def _renew(self, now_s: float) -> None:
        for rollout in self._latest():
            if rollout.expires_s - now_s < LIFETIME_S / 2:
                renewed = msgspec.structs.replace(
                    rollout, version=self._next_version(), expires_s=now_s + LIFETIME_S
                )
                self._store.put_rollout(renewed)
                self._publish(renewed)

    def _watch(self, now_s: float) -> None:
        enrolments = self._store.enrolments()
        reports = self._store.latest_reports(now_s - FRESH_S)
        reporting = [
            Reporting(device, enrolments[device].cohorts, report)
            for device, report in reports.items()
            if device in enrolments
        ]
        sizes = {item.report.bundle_id: self._baseline(item.report.bundle_id) for item in reporting}
        for finding in detect(reporting, sizes):
            self._tell(finding, now_s)
        for alert in self._store.alerts():
            if over(alert, now_s):
                self._store.put_alert(
                    msgspec.structs.replace(alert, state="closed", action=CLOSED_ACTION)
                )

    def _tell(self, finding: Finding, now_s: float) -> None:
        known = next(
            (a for a in self._store.alerts() if a.fingerprint == finding.fingerprint), None
        )
        after = merge(known, finding, now_s)
        same = known is not None and after == msgspec.structs.replace(known, last_seen_s=now_s)
        # Nothing new: do not wake every open page at every tick.
        if known is None or not same or now_s - known.last_seen_s >= SEEN_EVERY_S:
            self._store.put_alert(after)

    def _baseline(self, bundle_id: str) -> Baseline:
        """What a release was trained on, `UNKNOWN` where that cannot be read."""
        if bundle_id not in self._baselines:
            try:
                release = self._store.release(bundle_id)
                bundle = open_bundle(self._folder.repository / "targets" / release.target_path)
                reference = bundle.reference()
                known = Baseline(reference.samples, reference.classes)
            except (FleetError, BundleError):
                known = UNKNOWN
            self._baselines[bundle_id] = known
        return self._baselines[bundle_id]

    def _context(self, rollout: Rollout, twins: dict[str, Twin], now_s: float) -> Context:
        return Context(
            rollout=rollout,
            now_s=now_s,
            twins=twins,
            members=self._members(rollout.cohort),
            events=self._store.events(rollout.rollout_id),
        )

    def _members(self, cohort: str) -> tuple[str, ...]:
        enrolments = self._store.enrolments()
        return tuple(sorted(d for d, e in enrolments.items() if cohort in e.cohorts))

    def _permille(self, rollout: Rollout, wave: int, members: Sequence[str]) -> int:
        """Never below what was published: a device that joined does not leave."""
        cut = wave_permille(rollout.waves[wave], rollout.salt, members, rollout.holdback_permille)
        return max(cut, rollout.permille)

    def _latest(self) -> tuple[Rollout, ...]:
        latest: dict[str, Rollout] = {}
        for rollout in self._store.rollouts():
            known = latest.get(rollout.cohort)
            if known is None or rollout.version > known.version:
                latest[rollout.cohort] = rollout
        return tuple(latest.values())

    def _next_version(self) -> int:
        """Above every known one, and above those that a restored database has forgotten."""
        newest = max((r.version for r in self._store.rollouts()), default=0)
        return max(newest + 1, int(self._clock()))

    def _check_start(self, request: StartRollout, release: Release, members: Sequence[str]) -> None:
        if release.quarantined:
            msg = f"release '{release.name}' is quarantined: {release.quarantined}"
            raise RolloutError(msg)
        if not members:
            raise RolloutError(f"no enrolled device is in cohort '{request.cohort}'")
        busy = [r for r in self._store.rollouts() if r.cohort == request.cohort and r.state in LIVE]
        if busy:
            msg = f"cohort '{request.cohort}' has rollout {busy[0].rollout_id} ({busy[0].state})"
            raise RolloutError(f"{msg}; abort or finish it first")
        if problem := why_window_is_too_short(request) or why_mirrors_are_wrong(request):
            raise RolloutError(problem)
        if not request.waves:
            raise RolloutError("a rollout needs at least one wave")
        for wave in request.waves:
            if (wave.permille is None) == (wave.devices is None):
                raise RolloutError("a wave has either a permille or a number of devices")
            size, most = (wave.permille, 1000) if wave.devices is None else (wave.devices, 1 << 31)
            if size is None or not 0 < size <= most:
                raise RolloutError(f"a wave of {size} makes no sense; give 1 to {most}")

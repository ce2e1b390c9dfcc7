"""`Snapshots`: what the page shows, read once per revision however many pages and parts ask."""

from __future__ import annotations

import threading

from .pages import FleetView
from .requests import RolloutDetail
from .store import Store

ROLLOUTS_SHOWN = 10


class Snapshots:
    """The newest view of a fleet. Thread-safe."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._lock = threading.Lock()
        self._revision = -1
        self._view: FleetView | None = None

    def newest(self) -> FleetView:
        """The fleet as of now; the same object until something changes."""
        with self._lock:
            revision = self._store.revision  # before the rest: what comes in between is read again
            if self._view is None or revision != self._revision:
                self._view, self._revision = self._read(), revision
            return self._view

    def _read(self) -> FleetView:
        store = self._store
        return FleetView(
            tenant=self._tenant,
            devices=store.devices(),
            releases=store.releases(),
            rollouts=tuple(detail(store, r.rollout_id) for r in store.rollouts()[:ROLLOUTS_SHOWN]),
            alerts=store.alerts(),
        )


def detail(store: Store, rollout_id: str) -> RolloutDetail:
    """A rollout with its decision log and its devices.

    Raises:
        UnknownRolloutError: there is none of this id.
    """
    return RolloutDetail(
        rollout=store.rollout(rollout_id),
        events=store.rollout_events(rollout_id),
        exposures=store.exposures(rollout_id),
    )

"""The rollout documents that this boot has heard: the newest of each cohort, and no stranger's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .errors import TrustError
from .protocol import RolloutDocument, Topics
from .record import AgentRecord
from .signing import verify_document

MAX_STRANGERS = 64  # forged documents of one boot that are told of


class Documents:
    """What is retained for a device's cohorts, verified on arrival."""

    def __init__(self, topics: Topics, cohorts: Iterable[str], key: Ed25519PublicKey) -> None:
        self._key = key
        self._topics = {topics.cohort(cohort, "rollout"): cohort for cohort in cohorts}
        self._heard: dict[str, RolloutDocument] = {}
        self._strangers: set[bytes] = set()

    @property
    def latest(self) -> tuple[RolloutDocument, ...]:
        """The newest document of each cohort, in the order of the device's cohorts."""
        return tuple(self._heard[c] for c in self._topics.values() if c in self._heard)

    def are_on(self, topic: str) -> bool:
        """Whether documents come on this topic."""
        return topic in self._topics

    def take(self, topic: str, payload: bytes, record: AgentRecord) -> None:
        """Keep a document, unless a newer one of its rollout is known.

        Raises:
            TrustError: the fleet did not sign it, or signed it for another cohort, or before a
                document of another rollout that this device has seen.
        """
        document = verify_document(payload, self._key, RolloutDocument)
        cohort = self._topics[topic]
        if document.cohort != cohort:
            raise TrustError(f"cohort '{cohort}' was told of '{document.cohort}'s rollout")
        if document.version < self._newest(document, record):
            return
        heard = self._heard.get(cohort)  # on a full disk it may not be in the journal yet
        newest = max(record.newest_of(cohort), heard.version if heard else 0)
        if document.version < newest:
            told = f"version {document.version} of cohort '{cohort}' is older than {newest}"
            raise TrustError(told)
        self._heard[cohort] = document

    def is_new_stranger(self, payload: bytes) -> bool:
        """Whether a document that was refused is to be told of: each once, and not too many."""
        name = hashlib.sha256(payload).digest()
        if name in self._strangers or len(self._strangers) >= MAX_STRANGERS:
            return False
        self._strangers.add(name)
        return True

    def _newest(self, document: RolloutDocument, record: AgentRecord) -> int:
        heard = self._heard.get(document.cohort)
        known = record.version_of(document.rollout_id)
        if heard is None or heard.rollout_id != document.rollout_id:
            return known
        return max(known, heard.version)

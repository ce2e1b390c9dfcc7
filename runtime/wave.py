"""Who joins a wave: decided by each device for itself, and recomputable by anyone.

One retained document reaches a whole cohort. A device's position is a salted hash, so raising
`permille` only adds devices, and the holdback at the top of the range is a random control group.
"""

from __future__ import annotations

import hashlib

from .protocol import RolloutDocument

POSITIONS = 1000


def position(salt: str, device_id: str) -> int:
    """A device's place in 0..999, uniform over devices and independent between salts.

    The first 8 bytes of sha256(salt, NUL, device) as a big-endian number, modulo 1000.
    """
    digest = hashlib.sha256(f"{salt}\0{device_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % POSITIONS


def holds_back(document: RolloutDocument, device_id: str) -> bool:
    """Whether the device is in the control group, which never joins."""
    return position(document.salt, device_id) >= POSITIONS - document.holdback_permille


def joins(document: RolloutDocument, device_id: str) -> bool:
    """Whether the device takes the release in the document's current wave."""
    here = position(document.salt, device_id)
    return here < document.permille and not holds_back(document, device_id)

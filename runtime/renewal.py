"""Renewal while a device runs: nobody walks up to one whose certificate has ended.

The service asks by itself, long before the end, in a thread of its own; what goes wrong is tried
again later. The link takes the new identity with its next connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from .errors import RuntimeRoomError
from .link import LinkConfig

EVERY_S = 6 * 3600.0

_LOG = logging.getLogger(__name__)


def start_renewal(link: LinkConfig, stop: threading.Event, now_s: Callable[[], float]) -> None:
    """Keep the link's identity fresh until `stop`; does nothing for one without a certificate."""
    if link.tls is None or link.tls.identity is None:
        return
    threading.Thread(
        target=_run, args=(link, stop, now_s), name="edgekiln-renewal", daemon=True
    ).start()


def renew_if_due(link: LinkConfig, now_s: float) -> bool:
    """Whether the identity was renewed; one that could not be stays, and is said."""
    from .enrol_link import renew_identity
    from .identity import due_for_renewal

    identity = link.tls.identity if link.tls else None
    try:
        if identity is None or not due_for_renewal(identity, datetime.fromtimestamp(now_s, UTC)):
            return False
        renew_identity(link, identity)
    except (RuntimeRoomError, OSError, ValueError) as error:
        _LOG.warning("the certificate is not renewed yet: %s", error)
        return False
    return True


def _run(link: LinkConfig, stop: threading.Event, now_s: Callable[[], float]) -> None:
    while not stop.is_set():
        renew_if_due(link, now_s())
        stop.wait(EVERY_S)

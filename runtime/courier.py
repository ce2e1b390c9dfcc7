"""Takes messages from the outbox to the link, and again until they are acknowledged."""

from __future__ import annotations

from collections.abc import Callable

from .outbox import Outbox

IN_FLIGHT = 32
CAPTURES_IN_FLIGHT = 4
RESEND_S = 10.0


class Courier:
    """Sends the outbox's messages in order, a bounded number at a time.

    What it takes up is marked in the outbox first, so that it keeps its meaning for ever.

    `publish(kind, payload)` says whether the message left; `monotonic` gives seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        publish: Callable[[str, bytes], bool],
        monotonic: Callable[[], float],
        resend_s: float = RESEND_S,
    ) -> None:
        self._outbox = outbox
        self._publish = publish
        self._monotonic = monotonic
        self._resend_s = resend_s
        self._sent: dict[int, float] = {}  # message id -> when it last left

    def reconnected(self) -> None:
        """A new connection: nothing is on its way any more."""
        self._sent.clear()

    def acknowledged(self, boot_id: str, seq: int) -> None:
        """The fleet has stored a message."""
        self._sent.pop(self._outbox.ack(boot_id, seq), None)

    def pump(self) -> None:
        """Send what is new and what has waited too long for its acknowledgement."""
        now = self._monotonic()
        waiting = self._outbox.waiting(IN_FLIGHT, CAPTURES_IN_FLIGHT)
        if fresh := [message.id for message in waiting if not message.sent]:
            self._outbox.mark_sent(fresh)
        for message in waiting:
            left = self._sent.get(message.id)
            if left is not None and now - left < self._resend_s:
                continue
            if not self._publish(message.kind, message.payload):
                return
            self._sent[message.id] = now

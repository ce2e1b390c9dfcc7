"""Getting a model to run, whatever the last power cut left.

The order is: last known good, the one before it, the factory release. Each is hashed before it is
loaded. Only where none of them loads is a device BROKEN, and even then it takes new offers. A disk
that takes no bytes stops none of this: the factory release then runs from its own folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import record as moves
from .agent_ports import Models
from .errors import RuntimeRoomError
from .protocol import DeviceState
from .record import AgentRecord, Slot
from .slots import SlotStore, is_file_of
from .trust import TARGETS_URL, Trust


@dataclass(frozen=True, slots=True)
class Recovery:
    """Where models come from; `factory` is the folder of the signed first release."""

    trust: Trust
    slots: SlotStore
    models: Models
    factory: Path

    def restore(self, record: AgentRecord) -> AgentRecord:
        """Make the best loadable model live; the record that is true afterwards.

        The record comes back unchanged where its last known good model runs.
        """
        good = record.last_known_good
        why: list[str] = []
        for slot, path in self._candidates(record, why):
            problem = self._try(slot, path)
            if problem:
                why.append(f"{slot.bundle_id[:12]}: {problem}")
            elif slot == good and record.state != DeviceState.BROKEN:
                return record
            else:
                return moves.restored(record, slot, "; ".join(why))
        return moves.broken(record, "no model can be loaded: " + "; ".join(why))

    def _candidates(self, record: AgentRecord, why: list[str]) -> Iterator[tuple[Slot, Path]]:
        for slot in (record.last_known_good, record.previous_good):
            if slot is not None:
                yield slot, self.slots.path(slot)
        try:
            yield self._factory_slot()
        except (RuntimeRoomError, OSError) as error:
            why.append(f"factory: {error}")

    def _try(self, slot: Slot, path: Path) -> str:
        """Make a slot's model live; why not, empty when it is."""
        if self.models.running == slot.bundle_id:
            return ""
        if not is_file_of(slot, path):
            return "its file is gone or damaged"
        try:
            self.models.use(path)
        except RuntimeRoomError as error:
            return str(error)
        return ""

    def _factory_slot(self) -> tuple[Slot, Path]:
        release, data = self.trust.verify_factory(self.factory)
        slot = Slot(
            bundle_id=release.bundle_id,
            sha256=release.sha256,
            bytes=release.bytes,
            security_counter=release.security_counter,
        )
        if not self.slots.holds(slot):
            with contextlib.suppress(OSError):
                self.slots.write(slot, data)
        if self.slots.holds(slot):
            return slot, self.slots.path(slot)
        return slot, self.factory / TARGETS_URL / release.target_path

"""A device's message on its way into the tables: stored once, however often it comes."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from edgekiln.runtime.protocol import Birth, Capture, Event, Report, State, encode

from . import schema

REPORTS_KEPT = 500  # per device
CAPTURES_KEPT = 200  # per device
CAPTURE_KEPT_S = 30 * 86400.0  # whatever time to live a device asks for
SEEN_KEPT_S = 30 * 86400.0  # a message that comes again after so long is stored again


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message of a device. `device` comes from the topic, which the broker binds to a login.

    `retained` marks what the broker kept from before: it says nothing about when the device was
    last alive.
    """

    device: str
    message: Birth | State | Report | Event | Capture
    retained: bool = False


def store_inbound(connection: Connection, inbound: Inbound, now_s: float) -> int:
    """Store one message; 1 where it was new, 0 where it had been stored before."""
    device, message = inbound.device, inbound.message
    if not isinstance(message, Birth) and not _first_time(connection, device, message, now_s):
        return 0
    if isinstance(message, Birth):
        _put_birth(connection, inbound, message, now_s)
    else:
        _touch(connection, device, now_s)
    if isinstance(message, State):
        _put_state(connection, device, message)
    elif isinstance(message, Report):
        _put_report(connection, device, message, now_s)
    elif isinstance(message, Capture):
        _put_capture(connection, device, message, now_s)
    elif isinstance(message, Event):
        connection.execute(
            insert(schema.event).values(
                device=device,
                rollout_id=message.rollout_id,
                received_s=now_s,
                record=msgspec.json.encode(message),
            )
        )
    return 1


def _first_time(
    connection: Connection, device: str, message: State | Report | Event | Capture, now_s: float
) -> bool:
    statement = insert(schema.seen).values(
        device=device, boot_id=message.boot_id, seq=message.seq, at_s=now_s
    )
    return connection.execute(statement.on_conflict_do_nothing()).rowcount == 1


def _put_birth(connection: Connection, inbound: Inbound, birth: Birth, now_s: float) -> None:
    alive = birth.online and not inbound.retained
    _touch(connection, inbound.device, now_s if alive else 0.0)
    _set_twin(connection, inbound.device, online=birth.online, birth=msgspec.json.encode(birth))


def _put_state(connection: Connection, device: str, state: State) -> None:
    query = select(schema.twin.c.state).where(schema.twin.c.device == device)
    stored = connection.execute(query).scalar_one()
    if stored:
        known = msgspec.json.decode(stored, type=State)
        if known.boot_id == state.boot_id and known.seq > state.seq:
            return  # it was delayed: the device has said something newer since
    _set_twin(connection, device, state=msgspec.json.encode(state))


def _touch(connection: Connection, device: str, now_s: float) -> None:
    """The device was alive at `now_s`; 0 only makes sure that it has a row."""
    table = schema.twin
    statement = insert(table).values(
        device=device, online=False, last_seen_s=now_s, birth=b"", state=b""
    )
    latest = func.max(table.c.last_seen_s, statement.excluded.last_seen_s)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[table.c.device], set_={"last_seen_s": latest}
        )
    )


def _set_twin(connection: Connection, device: str, **values: object) -> None:
    statement = update(schema.twin).where(schema.twin.c.device == device)
    connection.execute(statement.values(**values))


def _put_report(connection: Connection, device: str, report: Report, now_s: float) -> None:
    table = schema.report
    added = connection.execute(
        insert(table).values(
            device=device,
            bundle_id=report.bundle_id,
            start_s=report.start_s,
            end_s=report.end_s,
            received_s=now_s,
            samples=report.samples,
            record=encode(report),
        )
    )
    key = added.inserted_primary_key
    if key is not None and key[0] % REPORTS_KEPT == 0:  # now and then, not at every message
        _drop_old(connection, now_s)


def _put_capture(connection: Connection, device: str, capture: Capture, now_s: float) -> None:
    table = schema.capture
    connection.execute(
        insert(table).values(
            device=device,
            bundle_id=capture.bundle_id,
            reason=capture.reason.value,
            received_s=now_s,
            expires_s=now_s + min(capture.ttl_s, CAPTURE_KEPT_S),
            record=encode(capture),
        )
    )
    newest = (
        select(table.c.id)
        .where(table.c.device == device)
        .order_by(table.c.id.desc())
        .limit(CAPTURES_KEPT)
    )
    connection.execute(delete(table).where(table.c.device == device, table.c.id.not_in(newest)))


def _drop_old(connection: Connection, now_s: float) -> None:
    connection.execute(delete(schema.seen).where(schema.seen.c.at_s < now_s - SEEN_KEPT_S))
    table = schema.report
    rank = func.row_number().over(partition_by=table.c.device, order_by=table.c.id.desc())
    ranked = select(table.c.id, rank.label("rank")).subquery()
    old = select(ranked.c.id).where(ranked.c.rank > REPORTS_KEPT)
    connection.execute(delete(table).where(table.c.id.in_(old)))

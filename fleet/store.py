"""`Store`: what the fleet knows, by name. Every method is one question or one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, Table, func, select, update
from sqlalchemy.dialects.sqlite import insert

from edgekiln.runtime.protocol import Birth, Event, Report, State, decode

from . import schema
from .database import Database
from .errors import ReleaseError, RolloutError, UnknownDeviceError, UnknownRolloutError
from .inbound import Inbound, store_inbound
from .model import Alert, DeviceView, Release, Rollout, RolloutEvent, RolloutState
from .twin import Exposure, Twin, view

Record = TypeVar("Record", bound=msgspec.Struct)


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """A device that has credentials."""

    device: str
    target: str
    cohorts: tuple[str, ...]
    enrolled_s: float


class Latency(msgspec.Struct, frozen=True):
    """The part of a report that says how long answers took; the rest is passed over."""

    latency_us: tuple[int, ...]
    latency_sketch: bytes = b""


class ReportSpan(NamedTuple):
    """When a device answered how many samples; Unix seconds of its own clock."""

    device: str
    start_s: float
    end_s: float
    samples: int


def open_store(path: Path) -> Store:
    """Open or create the database file of a fleet.

    Raises:
        FleetFolderError: the file is no database or cannot be written.
    """
    return Store(path)


class Store(Database):
    """The tables of one fleet. Thread-safe; several processes may use the same file."""

    # Releases

    def put_release(self, release: Release) -> None:
        """Add or replace a release."""
        with self.writing() as connection:
            _upsert(
                connection,
                schema.release,
                bundle_id=release.bundle_id,
                registered_s=release.registered_s,
                record=_json(release),
            )

    def releases(self) -> tuple[Release, ...]:
        """Every release, newest first."""
        table = schema.release.c
        query = select(table.record).order_by(table.registered_s.desc(), table.bundle_id)
        return self._records(query, Release)

    def release(self, bundle_id: str) -> Release:
        """The release with this id.

        Raises:
            ReleaseError: there is none.
        """
        query = select(schema.release.c.record).where(schema.release.c.bundle_id == bundle_id)
        found = self._records(query, Release)
        if not found:
            raise ReleaseError(f"no release '{bundle_id[:16]}' is registered in this fleet")
        return found[0]

    # Devices

    def put_enrolment(self, enrolment: Enrolment) -> None:
        """Add or replace what was agreed with a device."""
        with self.writing() as connection:
            _upsert(
                connection,
                schema.enrolment,
                device=enrolment.device,
                target=enrolment.target,
                cohorts=msgspec.json.encode(enrolment.cohorts).decode(),
                enrolled_s=enrolment.enrolled_s,
            )

    def enrolments(self) -> dict[str, Enrolment]:
        """Every enrolled device."""
        table = schema.enrolment.c
        with self.reading() as connection:
            rows = connection.execute(
                select(table.device, table.target, table.cohorts, table.enrolled_s)
            ).all()
        return {
            row.device: Enrolment(
                device=row.device,
                target=row.target,
                cohorts=tuple(msgspec.json.decode(row.cohorts)),
                enrolled_s=row.enrolled_s,
            )
            for row in rows
        }

    def twins(self) -> dict[str, Twin]:
        """What each device said last; devices that were never heard are absent."""
        with self.reading() as connection:
            rows = connection.execute(select(*schema.twin.c)).all()
        return {
            row.device: Twin(
                device=row.device,
                online=row.online,
                last_seen_s=row.last_seen_s,
                birth=msgspec.json.decode(row.birth, type=Birth) if row.birth else None,
                state=msgspec.json.decode(row.state, type=State) if row.state else None,
            )
            for row in rows
        }

    def set_offline(self, device: str) -> None:
        """A device is not there, whatever it said last."""
        twin = schema.twin
        with self.writing() as connection:
            connection.execute(update(twin).where(twin.c.device == device).values(online=False))

    def forget_presence(self) -> None:
        """Nobody is online until heard again: their last wills may have been missed."""
        with self.writing() as connection:
            connection.execute(update(schema.twin).values(online=False))

    def devices(self) -> tuple[DeviceView, ...]:
        """Every enrolled or heard device, by name."""
        enrolments, twins, reports = self.enrolments(), self.twins(), self.latest_reports()
        return tuple(
            view(
                device,
                enrolments[device].cohorts if device in enrolments else None,
                twins.get(device),
                reports.get(device),
            )
            for device in sorted(enrolments.keys() | twins.keys())
        )

    def device(self, device: str) -> DeviceView:
        """One device.

        Raises:
            UnknownDeviceError: it was neither enrolled nor heard.
        """
        for found in self.devices():
            if found.device == device:
                return found
        raise UnknownDeviceError(f"no device '{device}' is enrolled in this fleet")

    def latest_reports(self, since_s: float = 0.0) -> dict[str, Report]:
        """Each device's last report, where it was received at or after `since_s`."""
        table = schema.report.c
        last = select(func.max(table.id)).group_by(table.device)
        query = select(table.device, table.record).where(
            table.id.in_(last), table.received_s >= since_s
        )
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return {row.device: decode(row.record, Report) for row in rows}

    def received_since(self, since_s: float) -> tuple[ReportSpan, ...]:
        """The windows of all reports received at or after `since_s`, without opening a report."""
        table = schema.report.c
        query = select(table.device, table.start_s, table.end_s, table.samples).where(
            table.received_s >= since_s
        )
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(ReportSpan(*row) for row in rows)

    def report_latencies(self) -> Iterator[tuple[str, str, Latency]]:
        """(device, bundle, latencies) of every report that is kept, in order of arrival."""
        table = schema.report.c
        query = select(table.device, table.bundle_id, table.record).order_by(table.id)
        with self.reading() as connection:
            for row in connection.execute(query):
                yield row.device, row.bundle_id, decode(row.record, Latency)

    def apply(self, batch: Sequence[Inbound], now_s: float) -> int:
        """Store messages in order, in one transaction; returns how many were new.

        A message whose (device, boot_id, seq) was stored before changes nothing. Births are
        state, not history: the last one heard holds.
        """
        with self.writing() as connection:
            return sum(store_inbound(connection, inbound, now_s) for inbound in batch)

    def events(self, rollout_id: str) -> tuple[tuple[str, Event], ...]:
        """(device, event) of a rollout, in the order of arrival."""
        table = schema.event.c
        query = (
            select(table.device, table.record)
            .where(table.rollout_id == rollout_id)
            .order_by(table.id)
        )
        with self.reading() as connection:
            rows = connection.execute(query).all()
        return tuple((row.device, msgspec.json.decode(row.record, type=Event)) for row in rows)

    # Rollouts

    def rollouts(self) -> tuple[Rollout, ...]:
        """Every rollout, newest first."""
        table = schema.rollout.c
        query = select(table.record).order_by(table.started_s.desc(), table.rollout_id)
        return self._records(query, Rollout)

    def rollout(self, rollout_id: str) -> Rollout:
        """One rollout.

        Raises:
            UnknownRolloutError: there is none of this id.
        """
        query = select(schema.rollout.c.record).where(schema.rollout.c.rollout_id == rollout_id)
        found = self._records(query, Rollout)
        if not found:
            raise UnknownRolloutError(f"no rollout '{rollout_id}' in this fleet")
        return found[0]

    def record_decision(self, rollout: Rollout, happened: RolloutEvent) -> None:
        """Store a rollout's new state and the line of the log that explains it, together."""
        with self.writing() as connection:
            _put_rollout(connection, rollout)
            _append_event(connection, happened)

    def put_rollout(self, rollout: Rollout) -> None:
        """Store what is no decision: a renewed document."""
        with self.writing() as connection:
            _put_rollout(connection, rollout)

    def rollout_events(self, rollout_id: str) -> tuple[RolloutEvent, ...]:
        """The decision log of a rollout, oldest first."""
        table = schema.rollout_event.c
        query = select(table.record).where(table.rollout_id == rollout_id).order_by(table.id)
        return self._records(query, RolloutEvent)

    def audit(self) -> int:
        """Check the chain of digests over the whole decision log; returns the number of lines.

        Raises:
            RolloutError: a line was changed, taken out or put in after it was written.
        """
        table = schema.rollout_event.c
        previous, lines = "", 0
        with self.reading() as connection:
            rows = connection.execute(
                select(table.id, table.record, table.digest).order_by(table.id)
            ).all()
        for row in rows:
            record = msgspec.json.decode(row.record, type=RolloutEvent)
            if record.previous != previous or sha256(row.record).hexdigest() != row.digest:
                raise RolloutError(f"line {row.id} of the decision log was changed afterwards")
            previous, lines = row.digest, lines + 1
        return lines

    def exposures(self, rollout_id: str) -> tuple[Exposure, ...]:
        """Devices that a rollout reached or holds back, by their position in it."""
        table = schema.exposure.c
        query = select(*table).where(table.rollout_id == rollout_id)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(table.position, table.device)).mappings().all()
        return tuple(
            msgspec.convert({str(name): value for name, value in row.items()}, Exposure)
            for row in rows
        )

    def put_exposures(self, exposures: Iterable[Exposure]) -> None:
        """Add exposures or replace their outcome."""
        rows = [msgspec.structs.asdict(exposure) for exposure in exposures]
        if rows:
            with self.writing() as connection:
                for row in rows:
                    _upsert(connection, schema.exposure, **row)

    def history(self) -> tuple[int, int]:
        """(failures, successes) of canary devices over all rollouts that ended well."""
        table = schema.exposure.c
        done = select(schema.rollout.c.rollout_id).where(
            schema.rollout.c.state == RolloutState.DONE.value
        )
        query = (
            select(table.outcome, func.count())
            .where(table.arm == "canary", table.rollout_id.in_(done))
            .group_by(table.outcome)
        )
        with self.reading() as connection:
            counts = {row[0]: int(row[1]) for row in connection.execute(query).all()}
        return counts.get("failed", 0), counts.get("healthy", 0)

    # Alerts and counters

    def alerts(self) -> tuple[Alert, ...]:
        """Every alert, newest first."""
        query = select(schema.alert.c.record).order_by(schema.alert.c.alert_id.desc())
        return self._records(query, Alert)

    def put_alert(self, alert: Alert) -> Alert:
        """Add an alert (`alert_id` 0 takes the next number) or replace one; returns it."""
        with self.writing() as connection:
            if not alert.alert_id:
                highest = connection.execute(select(func.max(schema.alert.c.alert_id))).scalar()
                alert = msgspec.structs.replace(alert, alert_id=int(highest or 0) + 1)
            _upsert(
                connection,
                schema.alert,
                alert_id=alert.alert_id,
                fingerprint=alert.fingerprint,
                state=alert.state,
                record=_json(alert),
            )
        return alert

    def count(self, key: str, more: int = 1) -> None:
        """Raise a counter, for instance of messages that could not be read."""
        table = schema.meta
        statement = insert(table).values(key=key, value=more)
        with self.writing() as connection:
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[table.c.key], set_={"value": table.c.value + more}
                )
            )

    def counter(self, key: str) -> int:
        """A counter's value, 0 where nothing was counted."""
        query = select(schema.meta.c.value).where(schema.meta.c.key == key)
        with self.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def _records(self, query: object, kind: type[Record]) -> tuple[Record, ...]:
        with self.reading() as connection:
            rows = connection.execute(query).scalars().all()  # type: ignore[call-overload]
        return tuple(msgspec.json.decode(row, type=kind) for row in rows)


def _put_rollout(connection: Connection, rollout: Rollout) -> None:
    _upsert(
        connection,
        schema.rollout,
        rollout_id=rollout.rollout_id,
        cohort=rollout.cohort,
        state=rollout.state.value,
        started_s=rollout.started_s,
        record=_json(rollout),
    )


def _append_event(connection: Connection, happened: RolloutEvent) -> None:
    table = schema.rollout_event
    last = select(table.c.digest).order_by(table.c.id.desc()).limit(1)
    previous = connection.execute(last).scalar() or ""
    record = _json(msgspec.structs.replace(happened, previous=previous))
    connection.execute(
        insert(table).values(
            rollout_id=happened.rollout_id, record=record, digest=sha256(record).hexdigest()
        )
    )


def _upsert(connection: Connection, table: Table, **values: object) -> None:
    keys = [column.name for column in table.primary_key]
    rest = {name: value for name, value in values.items() if name not in keys}
    statement = insert(table).values(**values)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))


def _json(record: msgspec.Struct) -> bytes:
    return msgspec.json.encode(record)

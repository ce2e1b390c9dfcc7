"""What a full outbox gives up, in which order. Oldest detail first, and all of it is counted.

Payload captures go first. Then reports lose resolution: those of one hour become one, later those
of one day, which costs nothing but the times in between. Then reports lose their features'
sketches, then the oldest reports go, then states, and events last: they are said once.

A report that may have left the device is never merged. The fleet knows it by its number; merged
into another, it would be counted twice. What was taken from the box stands in counters beside the
messages until the next report carries it away, so at every moment

    samples put = samples acknowledged + samples in the box + samples lost, told or to be told

holds, whenever the process is killed: every step is part of the transaction that needs its room.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from .errors import ProtocolError
from .protocol import Lost, Report, decode, encode
from .rollup import add_lost, merge, thinned

CAPTURE, REPORT, STATE = "capture", "report", "state"
HOUR_S, DAY_S = 3600, 86400
EXPIRED = "expires_s BETWEEN 0.001 AND ?"  # of a message, with the time now
_AT_ONCE = 256  # reports merged in one step: bounds memory and the time of a step
_WINDOWS = "lost_windows"
_FIRST = "ORDER BY sent, id LIMIT 1"  # the oldest, but last what may have arrived already


@dataclass(frozen=True, slots=True)
class Freed:
    """What one step has made room for."""

    messages: int
    bytes: int


class _Counted(msgspec.Struct, frozen=True):
    """The part of a report that is missed when it is gone."""

    samples: int
    dropped: int = 0
    merged: int = 1
    lost: Lost = Lost()


@dataclass(frozen=True, slots=True)
class Losses:
    """What no report has told yet."""

    windows: int
    lost: Lost


def relieve(db: sqlite3.Connection, rng: np.random.Generator) -> Freed | None:
    """Take the first step of `STEPS` that there is anything for; None where the box is empty.

    The caller has a transaction.
    """
    for step in STEPS:
        freed = step(db, rng)
        if freed is not None:
            return freed
    return None


def read_losses(db: sqlite3.Connection) -> Losses:
    """What the next report has to tell."""
    rows = dict(db.execute("SELECT name, value FROM counter WHERE name LIKE 'lost_%'"))
    names = Lost.__struct_fields__
    lost = Lost(**{name: int(rows.get(f"lost_{name}", 0)) for name in names})
    return Losses(int(rows.get(_WINDOWS, 0)), lost)


def add_losses(db: sqlite3.Connection, lost: Lost, windows: int = 0) -> None:
    """Note what was lost, for the next report."""
    told = {f"lost_{name}": getattr(lost, name) for name in lost.__struct_fields__}
    for name, value in {**told, _WINDOWS: windows}.items():
        if value:
            db.execute(
                "INSERT INTO counter VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (name, value),
            )


def clear_losses(db: sqlite3.Connection) -> None:
    """A report tells them."""
    db.execute("DELETE FROM counter WHERE name LIKE 'lost_%'")


def drop_expired(db: sqlite3.Connection, now_s: float) -> Freed | None:
    """Drop the oldest message whose time is over; only captures have one."""
    return _drop(db, EXPIRED, now_s, Lost(captures=1))


def drop_capture(db: sqlite3.Connection) -> Freed | None:
    """Drop the oldest capture."""
    return _drop(db, "kind = ?", CAPTURE, Lost(captures=1))


def _drop_capture(db: sqlite3.Connection, _rng: np.random.Generator) -> Freed | None:
    return drop_capture(db)


def _merge_hour(db: sqlite3.Connection, rng: np.random.Generator) -> Freed | None:
    return _merge(db, rng, HOUR_S)


def _merge_day(db: sqlite3.Connection, rng: np.random.Generator) -> Freed | None:
    return _merge(db, rng, DAY_S)


def _merge(db: sqlite3.Connection, rng: np.random.Generator, span_s: int) -> Freed | None:
    """Make one of the oldest reports of one bundle that began in the same span."""
    group = db.execute(
        "SELECT bundle_id, CAST(start_s / ? AS INTEGER) AS span FROM message "
        "WHERE kind = ? AND sent = 0 AND bundle_id != '' "
        "GROUP BY bundle_id, span HAVING COUNT(*) > 1 ORDER BY MIN(id) LIMIT 1",
        (span_s, REPORT),
    ).fetchone()
    if group is None:
        return None
    rows = db.execute(
        "SELECT id, boot_id, seq, payload FROM message WHERE kind = ? AND sent = 0 "
        "AND bundle_id = ? AND CAST(start_s / ? AS INTEGER) = ? ORDER BY id LIMIT ?",
        (REPORT, group[0], span_s, group[1], _AT_ONCE),
    ).fetchall()
    ids = [row[0] for row in rows]
    last, boot_id, seq, _ = rows[-1]
    try:
        merged = merge([decode(row[3], Report) for row in rows], rng)
    except ProtocolError:  # nothing that this version wrote; it can still be sent as it is
        db.executemany("UPDATE message SET bundle_id = '' WHERE id = ?", [(one,) for one in ids])
        return Freed(0, 0)
    payload = encode(msgspec.structs.replace(merged, boot_id=boot_id, seq=seq))
    db.executemany("DELETE FROM message WHERE id = ?", [(one,) for one in ids[:-1]])
    # The last one's number and place: what comes first in time also arrives first.
    db.execute(
        "UPDATE message SET payload = ?, start_s = ?, rich = ? WHERE id = ?",
        (payload, merged.start_s, is_rich(merged), last),
    )
    return Freed(len(rows) - 1, sum(len(row[3]) for row in rows) - len(payload))


def _thin_report(db: sqlite3.Connection, _rng: np.random.Generator) -> Freed | None:
    row = db.execute(
        f"SELECT id, payload FROM message WHERE kind = ? AND rich = 1 {_FIRST}", (REPORT,)
    ).fetchone()
    if row is None:
        return None
    try:
        payload = encode(thinned(decode(row[1], Report)))
    except ProtocolError:  # nothing that this version wrote
        payload = row[1]
    db.execute("UPDATE message SET payload = ?, rich = 0 WHERE id = ?", (payload, row[0]))
    return Freed(0, len(row[1]) - len(payload))


def _drop_report(db: sqlite3.Connection, _rng: np.random.Generator) -> Freed | None:
    row = db.execute(f"SELECT payload FROM message WHERE kind = ? {_FIRST}", (REPORT,)).fetchone()
    if row is None:
        return None
    try:
        told = decode(row[0], _Counted)
    except ProtocolError:
        told = _Counted(samples=0)
    lost = add_lost((told.lost, Lost(samples=told.samples)))
    return _drop(db, "kind = ?", REPORT, lost, told.merged + told.dropped)


def _drop_state(db: sqlite3.Connection, _rng: np.random.Generator) -> Freed | None:
    return _drop(db, "kind = ?", STATE, Lost(messages=1))


def _drop_rest(db: sqlite3.Connection, _rng: np.random.Generator) -> Freed | None:
    return _drop(db, "kind != ?", STATE, Lost(messages=1))


def _drop(
    db: sqlite3.Connection, where: str, value: str | float, lost: Lost, windows: int = 0
) -> Freed | None:
    """Drop the oldest message for which `where` holds of `value`, and count what goes with it."""
    row = db.execute(
        f"DELETE FROM message WHERE id = (SELECT id FROM message WHERE {where} {_FIRST})"
        " RETURNING LENGTH(payload)",
        (value,),
    ).fetchone()
    if row is None:
        return None
    add_losses(db, lost, windows)
    db.execute("UPDATE counter SET value = value + 1 WHERE name = 'dropped'")
    return Freed(1, int(row[0]))


def is_rich(report: Report) -> bool:
    """Whether `thinned` would take anything from it."""
    return any(window.sketch for window in report.features)


Step = Callable[[sqlite3.Connection, np.random.Generator], Freed | None]

STEPS: tuple[Step, ...] = (
    _drop_capture,
    _merge_hour,
    _merge_day,
    _thin_report,
    _drop_report,
    _drop_state,
    _drop_rest,
)

"""Samples that devices were allowed to send: reading them, and forgetting them in time."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, select

from edgekiln.runtime.protocol import Capture, decode

from . import schema
from .database import Database


class Captured(NamedTuple):
    """One sample; `received_s` is the server's clock."""

    device: str
    received_s: float
    capture: Capture


def read_captures(database: Database, now_s: float, device: str = "") -> tuple[Captured, ...]:
    """Samples of one device, or of all, whose time is not over, in order of arrival."""
    table = schema.capture.c
    query = select(table.device, table.received_s, table.record).where(table.expires_s > now_s)
    if device:
        query = query.where(table.device == device)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(table.id)).all()
    return tuple(Captured(row.device, row.received_s, decode(row.record, Capture)) for row in rows)


def forget_captures(database: Database, now_s: float) -> int:
    """Delete samples whose time is over; how many there were."""
    over = schema.capture.c.expires_s <= now_s
    with database.reading() as connection:
        if connection.execute(select(schema.capture.c.id).where(over).limit(1)).first() is None:
            return 0
    with database.writing() as connection:
        return connection.execute(delete(schema.capture).where(over)).rowcount

"""Revocation: a device whose credentials are lost, stolen or out of use.

Three locks, since none of them closes at once everywhere: its password is gone, its certificates
are on the list that the broker reads, and the access rules give its name nothing, which also holds
for a connection that is open, until it is ended.
"""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert

from . import schema
from .authority import authority_file, now_utc, write_revoked
from .broker import reload_broker, remove_passwords, set_access
from .database import Database
from .errors import UnknownDeviceError
from .folder import ENROL_PREFIX, FleetFolder
from .kick import kick
from .store import Store


def revoke(folder: FleetFolder, store: Store, device: str, reason: str, now_s: float) -> None:
    """Take a device's credentials away; a broker that runs knows at once.

    Raises:
        UnknownDeviceError: no such device is enrolled.
    """
    if device not in store.enrolments():
        raise UnknownDeviceError(f"no device '{device}' is enrolled in this fleet")
    row = {"at_s": now_s, "reason": reason}
    with store.writing() as connection:
        statement = insert(schema.revocation).values(device=device, **row)
        connection.execute(statement.on_conflict_do_update(index_elements=["device"], set_=row))
        connection.execute(delete(schema.enrolment).where(schema.enrolment.c.device == device))
    withdraw_certificates(folder, store, device)
    remove_passwords(folder, (device, *_withdraw_tokens(store, device)))
    _write_access(folder, store)
    kick(folder, device)
    store.set_offline(device)  # its last will is not heard any more


def readmit(folder: FleetFolder, store: Database, device: str) -> None:
    """Let a device that was revoked be enrolled again; its old certificates stay revoked."""
    if device not in revoked(store):
        return
    with store.writing() as connection:
        connection.execute(delete(schema.revocation).where(schema.revocation.c.device == device))
    _write_access(folder, store)


def revoked(store: Database) -> tuple[str, ...]:
    """Devices that are revoked now, by name."""
    query = select(schema.revocation.c.device).order_by(schema.revocation.c.device)
    with store.reading() as connection:
        return tuple(connection.execute(query).scalars())


def keep_certificate(store: Database, serial: int, device: str, expires_s: float) -> None:
    """Remember a certificate, so that it can be revoked."""
    with store.writing() as connection:
        connection.execute(
            insert(schema.certificate).values(
                serial=f"{serial:x}", device=device, expires_s=expires_s, revoked=False
            )
        )


def withdraw_certificates(folder: FleetFolder, store: Database, device: str) -> None:
    """Put every certificate of a device on the broker's list; expired ones leave it."""
    if not authority_file(folder).exists():
        return
    table, now = schema.certificate, now_utc()
    with store.writing() as connection:
        connection.execute(update(table).where(table.c.device == device).values(revoked=True))
        connection.execute(delete(table).where(table.c.expires_s < now.timestamp()))
    with folder.changing_credentials():
        with store.reading() as connection:
            rows = connection.execute(select(table.c.serial).where(table.c.revoked)).scalars().all()
        write_revoked(folder, (int(serial, 16) for serial in rows), now)
    reload_broker(folder)


def _withdraw_tokens(store: Database, device: str) -> list[str]:
    """Forget a device's one-time tokens, which would let it in again; their logins."""
    table = schema.enrol_token
    with store.writing() as connection:
        gone = delete(table).where(table.c.device == device).returning(table.c.id)
        ids = connection.execute(gone).scalars().all()
    return [f"{ENROL_PREFIX}{token_id}" for token_id in ids]


def _write_access(folder: FleetFolder, store: Database) -> None:
    with folder.changing_credentials():
        set_access(folder, revoked(store))

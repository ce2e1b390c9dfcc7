"""One-time tokens: what lets a device that nobody knows yet ask for its identity.

A token is a login at the broker, `enrol.ID`, whose topics are its own and lead nowhere but to the
enrolment desk. It names the device, target, cohorts and first release, ends after a while, and
gives one key its identity: the same key may ask again, as after a lost answer, another may not.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from edgekiln.runtime.enrol import EnrolToken

from . import schema
from .authority import authority_file, ensure_authority, now_utc
from .broker import remove_passwords, set_passwords
from .database import Database
from .enrol import Place, newest_root
from .errors import EnrolmentError
from .folder import ENROL_PREFIX, LOOPBACK, FleetFolder
from .passwords import new_password

MAX_TTL_S = 90 * 86400.0


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet remembers of a token; its secret is only in the broker's password file."""

    id: str
    place: Place
    expires_s: float
    key_sha256: str = ""  # of the public key that got its identity

    @property
    def user(self) -> str:
        """Its login."""
        return f"{ENROL_PREFIX}{self.id}"


def make_token(
    folder: FleetFolder, store: Database, place: Place, ttl_s: float, now_s: float
) -> EnrolToken:
    """A new token, which a broker that runs knows at once.

    Raises:
        EnrolmentError: `ttl_s` is not above 0, or above 90 days.
    """
    if not 0 < ttl_s <= MAX_TTL_S:
        raise EnrolmentError(f"a token lives for up to 90 days, not {ttl_s / 86400:g}")
    drop_expired(folder, store, now_s)
    record = TokenRecord(id=secrets.token_hex(6), place=place, expires_s=now_s + ttl_s)
    secret = new_password()
    put_token(store, record)
    set_passwords(folder, {record.user: secret})
    broker = folder.settings.broker
    authority = ""
    if broker.public:
        ensure_authority(folder, now_utc())
        authority = authority_file(folder).read_text(encoding="ascii")
    return EnrolToken(
        tenant=folder.tenant,
        host=broker.public_host or LOOPBACK,
        port=broker.enrol_port if broker.public else broker.port,
        user=record.user,
        secret=secret,
        root_sha256=hashlib.sha256(newest_root(folder)).hexdigest(),
        authority=authority,
        expires_s=record.expires_s,
    )


def put_token(store: Database, record: TokenRecord) -> None:
    """Add or replace a token."""
    values = {"expires_s": record.expires_s, "record": msgspec.json.encode(record)}
    statement = insert(schema.enrol_token).values(
        id=record.id, device=record.place.device, **values
    )
    with store.writing() as connection:
        connection.execute(
            statement.on_conflict_do_update(index_elements=[schema.enrol_token.c.id], set_=values)
        )


def find_token(store: Database, user: str) -> TokenRecord | None:
    """The token of a login, or None."""
    table = schema.enrol_token.c
    query = select(table.record).where(table.id == user.removeprefix(ENROL_PREFIX))
    with store.reading() as connection:
        row = connection.execute(query).scalar_one_or_none()
    return None if row is None else msgspec.json.decode(row, type=TokenRecord)


def drop_expired(folder: FleetFolder, store: Database, now_s: float) -> Sequence[str]:
    """Forget tokens whose time is over, and their logins; these are returned."""
    table = schema.enrol_token
    with store.reading() as connection:
        rows = connection.execute(select(table.c.id).where(table.c.expires_s <= now_s)).scalars()
        ids = list(rows)
    if ids:
        with store.writing() as connection:
            connection.execute(delete(table).where(table.c.id.in_(ids)))
    users = [f"{ENROL_PREFIX}{token_id}" for token_id in ids]
    remove_passwords(folder, users)
    return users

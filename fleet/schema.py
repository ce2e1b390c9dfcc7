"""Tables of `fleet.db` (SQLAlchemy Core). Structs are stored as JSON, what is asked for as columns.

Nothing is ever deleted from `rollout_event`: each row holds the digest of the row before it.
"""

from __future__ import annotations

from sqlalchemy import (
    BLOB,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", Integer, nullable=False),
)

release = Table(
    "release",
    metadata,
    Column("bundle_id", String, primary_key=True),
    Column("registered_s", Float, nullable=False),
    Column("record", BLOB, nullable=False),  # model.Release as JSON
)

enrolment = Table(
    "enrolment",
    metadata,
    Column("device", String, primary_key=True),
    Column("target", String, nullable=False),
    Column("cohorts", Text, nullable=False),  # JSON list
    Column("enrolled_s", Float, nullable=False),
)

enrol_token = Table(
    "enrol_token",
    metadata,
    Column("id", String, primary_key=True),
    Column("device", String, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("record", BLOB, nullable=False),  # tokens.TokenRecord as JSON
)

certificate = Table(
    "certificate",
    metadata,
    Column("serial", String, primary_key=True),  # hex: longer than an SQLite integer
    Column("device", String, nullable=False, index=True),
    Column("expires_s", Float, nullable=False),
    Column("revoked", Boolean, nullable=False),
)

revocation = Table(
    "revocation",
    metadata,
    Column("device", String, primary_key=True),
    Column("at_s", Float, nullable=False),
    Column("reason", String, nullable=False),
)

twin = Table(
    "twin",
    metadata,
    Column("device", String, primary_key=True),
    Column("online", Boolean, nullable=False),
    Column("last_seen_s", Float, nullable=False),
    Column("birth", BLOB, nullable=False),  # protocol.Birth as JSON, empty before the first
    Column("state", BLOB, nullable=False),  # protocol.State as JSON, empty before the first
)

seen = Table(  # what was stored already: a message that comes twice changes nothing
    "seen",
    metadata,
    Column("device", String, primary_key=True),
    Column("boot_id", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at_s", Float, nullable=False),
    sqlite_with_rowid=False,
)

report = Table(
    "report",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device", String, nullable=False),
    Column("bundle_id", String, nullable=False),
    Column("start_s", Float, nullable=False),
    Column("end_s", Float, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("record", BLOB, nullable=False),  # protocol.Report as MessagePack
    Index("report_of_device", "device", "id"),
    # Holds all that the chart needs, so that it never touches the reports themselves.
    Index("report_received", "received_s", "device", "start_s", "end_s", "samples"),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device", String, nullable=False),
    Column("rollout_id", String, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("record", BLOB, nullable=False),  # protocol.Event as JSON
    Index("event_of_rollout", "rollout_id", "device"),
)

capture = Table(  # samples that devices were allowed to send; deleted at `expires_s`
    "capture",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device", String, nullable=False),
    Column("bundle_id", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("received_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False, index=True),
    Column("record", BLOB, nullable=False),  # protocol.Capture as MessagePack
    Index("capture_of_device", "device", "id"),
)

rollout = Table(
    "rollout",
    metadata,
    Column("rollout_id", String, primary_key=True),
    Column("cohort", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started_s", Float, nullable=False),
    Column("record", BLOB, nullable=False),  # model.Rollout as JSON
)

exposure = Table(  # one row per device that a rollout reached, or holds back as its control
    "exposure",
    metadata,
    Column("rollout_id", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("arm", String, nullable=False),  # canary | holdback
    Column("position", Integer, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("exposed_s", Float, nullable=False),
    Column("outcome", String, nullable=False),
    Column("outcome_s", Float, nullable=False),
    Column("reason", String, nullable=False),
)

rollout_event = Table(
    "rollout_event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rollout_id", String, nullable=False, index=True),
    Column("record", BLOB, nullable=False),  # model.RolloutEvent as JSON, previous digest inside
    Column("digest", String, nullable=False),  # sha256 of record
)

alert = Table(
    "alert",
    metadata,
    Column("alert_id", Integer, primary_key=True),
    Column("fingerprint", String, nullable=False, index=True),
    Column("state", String, nullable=False),
    Column("record", BLOB, nullable=False),  # model.Alert as JSON
)

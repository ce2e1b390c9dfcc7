"""The device folder: who this device is, whom it trusts, where its files are."""

from __future__ import annotations

import ssl
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .capture import CaptureTable, check_capture
from .drift import TOLERANCE
from .engines import FORMATS
from .errors import DeviceConfigError, EngineError, TrustError
from .link import TlsFiles
from .options import EngineOptions
from .signing import public_key_from_hex

CONFIG_NAME = "device.toml"
AUTHORITY_NAME = "authority.pem"  # in trust/: who signed the broker's certificate
IDENTITY_NAME = "identity.pem"  # key and certificate of the device
REMEDY = "enrol the device again with `edgekiln fleet enroll`"


class BrokerTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[broker]` of `device.toml`."""

    host: str
    port: int
    username: str
    tls: bool = False


class DeviceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`device.toml`."""

    device: str
    tenant: str
    target: str
    cohorts: tuple[str, ...]
    broker: BrokerTable
    ram_bytes: int = 0  # 0: not known, not checked
    flash_bytes: int = 0  # of one slot
    engine: str = ""  # litert | onnxruntime | c; empty: `choice.choose` decides
    inference: EngineOptions = EngineOptions()
    capture: CaptureTable | None = None  # None: no sample ever leaves the device
    drift_tolerance: float = TOLERANCE  # share of samples that may move before it is drift


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """Everything a device needs to run, read once."""

    folder: Path
    device: str
    tenant: str
    target: str
    cohorts: tuple[str, ...]
    ram_bytes: int
    flash_bytes: int
    engine: str
    inference: EngineOptions
    broker: BrokerTable
    password: str  # empty: the device has a certificate
    tls: TlsFiles | None
    root: bytes  # trust/root.json
    rollout_key: Ed25519PublicKey
    capture: CaptureTable | None = None
    drift_tolerance: float = TOLERANCE

    @property
    def factory(self) -> Path:
        """The signed first release."""
        return self.folder / "factory"

    @property
    def tuf(self) -> Path:
        """Cache of verified metadata."""
        return self.folder / "tuf"

    @property
    def slots(self) -> Path:
        """Bundles that were verified."""
        return self.folder / "slots"

    @property
    def journal(self) -> Path:
        """The write-ahead journal."""
        return self.folder / "journal.jsonl"

    @property
    def outbox(self) -> Path:
        """Messages that the fleet has not acknowledged."""
        return self.folder / "outbox.sqlite3"

    @property
    def drift(self) -> Path:
        """State of the drift detectors."""
        return self.folder / "drift.bin"


def load_device(path: Path) -> DeviceConfig:
    """Read a device folder.

    Raises:
        DeviceConfigError: it is missing, incomplete or wrong; one line that says where.
    """
    if not path.is_dir():
        raise DeviceConfigError(f"there is no device folder {path}; {REMEDY}")
    table = _table(path / CONFIG_NAME)
    try:
        rollout_key = public_key_from_hex(_text(path / "trust" / "rollout.pub"))
    except TrustError as error:
        raise DeviceConfigError(f"{path / 'trust' / 'rollout.pub'}: {error}; {REMEDY}") from error
    identity = table.broker.tls and (path / IDENTITY_NAME).exists()
    return DeviceConfig(
        folder=path,
        device=table.device,
        tenant=table.tenant,
        target=table.target,
        cohorts=table.cohorts,
        ram_bytes=table.ram_bytes,
        flash_bytes=table.flash_bytes,
        engine=table.engine,
        inference=table.inference,
        broker=table.broker,
        password="" if identity else _text(path / "password").strip(),
        tls=_tls(path, identity) if table.broker.tls else None,
        root=_bytes(path / "trust" / "root.json"),
        rollout_key=rollout_key,
        capture=table.capture,
        drift_tolerance=table.drift_tolerance,
    )


def _tls(path: Path, identity: bool) -> TlsFiles:
    authority = path / "trust" / AUTHORITY_NAME
    files = TlsFiles(authority, path / IDENTITY_NAME if identity else None)
    try:
        files.context()
    except (OSError, ssl.SSLError) as error:
        raise DeviceConfigError(f"{authority} or {IDENTITY_NAME}: {error}; {REMEDY}") from error
    return files


def _table(path: Path) -> DeviceTable:
    text = _text(path)
    try:
        table = msgspec.convert(tomllib.loads(text), DeviceTable)
    except tomllib.TOMLDecodeError as error:
        raise DeviceConfigError(f"{path} is no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise DeviceConfigError(f"{path}: {error}") from error
    _check(path, table)
    return table


def _check(path: Path, table: DeviceTable) -> None:
    for key in ("device", "tenant", "target"):
        if not getattr(table, key):
            raise DeviceConfigError(f"{path}: '{key}' is empty")
    cohorts = (("cohorts", cohort) for cohort in table.cohorts)
    for key, name in (("device", table.device), ("tenant", table.tenant), *cohorts):
        if set(name) & set("/+#"):
            raise DeviceConfigError(f"{path}: '{key}' holds one of / + #, which MQTT topics forbid")
    if table.engine not in ("", *FORMATS):
        known = ", ".join(FORMATS)
        raise DeviceConfigError(f"{path}: 'engine' is '{table.engine}'; there are: {known}")
    if table.capture is not None:
        try:
            check_capture(table.capture)
        except DeviceConfigError as error:
            raise DeviceConfigError(f"{path}: {error}") from error
    try:
        table.inference.check()
    except EngineError as error:
        raise DeviceConfigError(f"{path}: 'inference': {error}") from error
    if not 0 <= table.drift_tolerance < 1:
        raise DeviceConfigError(
            f"{path}: 'drift_tolerance' is {table.drift_tolerance}, not 0 to less than 1"
        )
    if not 0 < table.broker.port < 65536:
        raise DeviceConfigError(f"{path}: 'broker.port' is {table.broker.port}, not 1 to 65535")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DeviceConfigError(f"{path} is missing; {REMEDY}") from None
    except OSError as error:
        raise DeviceConfigError(f"{path} cannot be read: {error.strerror}") from error


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as error:
        raise DeviceConfigError(f"{path} is not UTF-8 text") from error

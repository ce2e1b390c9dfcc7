"""`FleetFolder`: the one folder that a fleet server lives in, its keys and its ports.

fleet.toml            tenant and ports; a person may edit it
fleet.db              SQLite: devices, releases, rollouts, alerts, decision log
keys/offline/         root.pem, targets.pem: needed to register a release, may be taken away
keys/online/          snapshot.pem, timestamp.pem, rollout.pem
repository/           metadata/ and targets/: what devices may download
broker/               passwords, access rules, configuration and log of the private broker
operator.token        bearer token of every request that changes something (mode 0600)
server.json           while a server runs: where it listens
"""

from __future__ import annotations

import fcntl
import re
import secrets
import shutil
import socket
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgekiln.runtime.files import write_atomic
from edgekiln.runtime.signing import private_pem

from .errors import FleetFolderError

OFFLINE_ROLES = ("root", "targets")
ONLINE_ROLES = ("snapshot", "timestamp", "rollout")
LOOPBACK = "127.0.0.1"
ENROL_PREFIX = "enrol."  # of the logins of one-time tokens
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class BrokerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[broker]` of `fleet.toml`.

    `port` is for this machine alone. With a `public_host`, the name or address under which devices
    reach this machine, the broker listens there with TLS: on `tls_port` for devices that have a
    certificate, on `enrol_port` for those that have a one-time token.
    """

    port: int
    public_host: str = ""
    tls_port: int = 8883
    enrol_port: int = 8884
    block_bytes_per_s: int = 0  # of all downloads together; 0: as the broker takes them

    @property
    def public(self) -> bool:
        """Whether other machines reach the broker."""
        return bool(self.public_host)


class FleetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`fleet.toml` as a whole."""

    tenant: str
    http_port: int
    broker: BrokerSection
    schema: int = 1


@dataclass(frozen=True, slots=True)
class FleetFolder:
    """An opened fleet folder: paths and settings, no open files."""

    path: Path
    settings: FleetSettings

    @property
    def tenant(self) -> str:
        """First part of every topic's name below `edgekiln/v1`."""
        return self.settings.tenant

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "fleet.db"

    @property
    def broker(self) -> Path:
        """Files of the private broker."""
        return self.path / "broker"

    @property
    def repository(self) -> Path:
        """Root of the TUF repository; holds `metadata/` and `targets/`."""
        return self.path / "repository"

    @property
    def token_file(self) -> Path:
        """The operator's bearer token."""
        return self.path / "operator.token"

    @property
    def server_file(self) -> Path:
        """Written by a running server, removed when it ends."""
        return self.path / "server.json"

    def key_file(self, role: str) -> Path:
        """PEM file of a role's private key."""
        place = "offline" if role in OFFLINE_ROLES else "online"
        return self.path / "keys" / place / f"{role}.pem"

    def private_key(self, role: str) -> Ed25519PrivateKey:
        """Read a role's private key.

        Raises:
            FleetFolderError: the key is not here (offline keys may have been taken away).
        """
        path = self.key_file(role)
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError as error:
            msg = f"the {role} key {path} is not here; put it back for this command"
            raise FleetFolderError(msg) from error
        except ValueError as error:
            raise FleetFolderError(f"{path} is no private key in PEM form") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise FleetFolderError(f"{path} is no Ed25519 key")
        return key

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold the lock that lets one process at a time change repository and credentials."""
        with (self.path / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def changing_credentials(self) -> Iterator[None]:
        """Hold the lock over the broker's files, which server and commands read and write anew.

        Inside `publishing` where both are held; not within itself.
        """
        with (self.broker / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def check_name(what: str, name: str) -> str:
    """Names become topics and file names: letters, digits, `_ . -`, at most 64.

    Raises:
        FleetFolderError: the name has another shape.
    """
    if not NAME.fullmatch(name):
        msg = f"{what} '{name}' must be 1 to 64 of letters, digits, '_', '.', '-'"
        raise FleetFolderError(msg)
    return name


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def init_fleet(
    path: Path,
    http_port: int = 0,
    broker_port: int = 0,
    tenant: str = "default",
    public_host: str = "",
) -> FleetFolder:
    """Make a fleet folder with fresh keys; port 0 chooses a free one now.

    With `public_host` devices on other machines reach the broker there, with TLS.

    The folder appears as a whole or not at all.

    Raises:
        FleetFolderError: the place is taken, or a setting is out of range.
    """
    from .broker import write_access_files
    from .repository import create_repository
    from .store import open_store

    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FleetFolderError(f"{path} is already in use; choose an empty folder")
    check_name("tenant", tenant)
    http_port = http_port or free_port()
    broker_port = broker_port or free_port()
    for name, port in (("HTTP", http_port), ("broker", broker_port)):
        if not 0 < port < 1 << 16:
            raise FleetFolderError(f"the {name} port {port} is not within 1 to 65535")
    settings = FleetSettings(tenant, http_port, BrokerSection(broker_port, public_host))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700)
        folder = FleetFolder(draft, settings)
        _write_settings(folder)
        _write_keys(folder)
        token = secrets.token_urlsafe(32)
        write_atomic(folder.token_file, f"{token}\n".encode(), 0o600)
        write_access_files(folder)
        create_repository(folder)
        open_store(folder.database).close()
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return FleetFolder(path.resolve(), settings)


def open_fleet(path: Path) -> FleetFolder:
    """Open an existing fleet folder.

    Raises:
        FleetFolderError: it is not there, incomplete, or `fleet.toml` is wrong.
    """
    file = path / "fleet.toml"
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        settings = msgspec.convert(data, FleetSettings)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = (
            f"{path} is no fleet folder (no fleet.toml); make one with: edgekiln fleet init {path}"
        )
        raise FleetFolderError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise FleetFolderError(f"{file} cannot be read: {error}") from error
    except OSError as error:
        raise FleetFolderError(f"{file} cannot be read: {error.strerror}") from error
    folder = FleetFolder(path.resolve(), settings)
    check_name("tenant", folder.tenant)
    for part in (folder.repository / "metadata", folder.broker, folder.token_file):
        if not part.exists():
            raise FleetFolderError(f"{path} is incomplete: {part.name} is not there")
    return folder


def _write_settings(folder: FleetFolder) -> None:
    settings = folder.settings
    text = (
        f"schema = {settings.schema}\n"
        f'tenant = "{settings.tenant}"\n'
        f"http_port = {settings.http_port}\n\n"
        f"[broker]\n"
        f"port = {settings.broker.port}\n"
    )
    if settings.broker.public:
        text += (
            f'public_host = "{settings.broker.public_host}"\n'
            f"tls_port = {settings.broker.tls_port}\n"
            f"enrol_port = {settings.broker.enrol_port}\n"
        )
    write_atomic(folder.path / "fleet.toml", text.encode())


def _write_keys(folder: FleetFolder) -> None:
    for role in OFFLINE_ROLES + ONLINE_ROLES:
        file = folder.key_file(role)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.parent.chmod(0o700)
        write_atomic(file, private_pem(Ed25519PrivateKey.generate()), 0o600)

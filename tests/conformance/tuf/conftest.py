"""A TUF repository that can misbehave, and a client over it, both in memory.

The repository is python-tuf's Metadata API and nothing of ours; the client is the one behind
`edgekiln.runtime.tuf_cli`, which is the one that a device installs by.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from edgekiln.runtime import tuf_cli
from edgekiln.runtime.errors import AbsentFileError, RuntimeRoomError, TransferError

TOP_ROLES = ("root", "targets", "snapshot", "timestamp")
METADATA = "https://repository.example/metadata/"
TARGETS = "https://repository.example/targets/"


def day(days: float) -> datetime:
    """A time so many days from now."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


class Repository:
    """Roles as objects, to be changed at will; `publish` signs them and puts them on the wire."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.published: set[str] = set()
        self.hashes = False  # whether snapshot and timestamp name hashes and lengths
        self.roles: dict[str, Any] = {
            "root": Root(expires=day(30), consistent_snapshot=True),
            "targets": Targets(expires=day(30)),
            "snapshot": Snapshot(expires=day(30)),
            "timestamp": Timestamp(expires=day(30)),
        }
        self.signers: dict[str, list[CryptoSigner]] = {}
        for role in TOP_ROLES:
            self.new_keys(role)
        self.write("root")
        self.publish_all()

    root: Root = property(lambda self: self.roles["root"])  # type: ignore[assignment]
    targets: Targets = property(lambda self: self.roles["targets"])  # type: ignore[assignment]
    snapshot: Snapshot = property(lambda self: self.roles["snapshot"])  # type: ignore[assignment]
    timestamp: Timestamp = property(lambda self: self.roles["timestamp"])  # type: ignore[assignment]

    @property
    def trusted_root(self) -> bytes:
        """What a device is made with."""
        return self.files["metadata/1.root.json"]

    # Keys -------------------------------------------------------------------------------------

    def new_keys(self, role: str, count: int = 1, threshold: int = 1) -> list[CryptoSigner]:
        """Take all keys from a top-level role and give it new ones; publish the root yourself."""
        self.root.roles[role].keyids.clear()
        self.root.roles[role].threshold = threshold
        made = [CryptoSigner.generate_ed25519() for _ in range(count)]
        for signer in made:
            self.root.add_key(signer.public_key, role)
        self.signers[role] = made
        return made

    # Publishing -------------------------------------------------------------------------------

    def write(self, role: str, version: int | None = None, name: str | None = None) -> bytes:
        """Sign a role as it is now and serve it, under another version or name if one is given."""
        signed = self.roles[role]
        metadata = Metadata(signed)
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        self.published.add(role)
        number = signed.version if version is None else version
        plain = "timestamp.json" if role == "timestamp" else f"{number}.{role}.json"
        self.files[f"metadata/{name or plain}"] = data
        return data

    def publish_root(self) -> None:
        """The next root."""
        self.root.version += 1
        self.write("root")

    def publish_all(self, bump: bool = True) -> None:
        """Targets and all delegated roles, then the snapshot of them, then the timestamp."""
        for role in (*self.delegated, "targets"):
            self.publish_targets(role, bump)
        self.publish_snapshot(bump="snapshot" in self.published)

    def publish_targets(self, role: str = "targets", bump: bool = True) -> None:
        """A targets role, named in the snapshot that comes next."""
        self.roles[role].version += bump and role in self.published
        data = self.write(role)
        self.snapshot.meta[f"{role}.json"] = self.described(self.roles[role].version, data)

    def publish_snapshot(self, bump: bool = True) -> None:
        """The snapshot as it is, and a timestamp that names it."""
        self.snapshot.version += bump
        self.name_snapshot(self.write("snapshot"))

    def name_snapshot(self, data: bytes) -> None:
        """A new timestamp for these bytes of a snapshot."""
        self.timestamp.snapshot_meta = self.described(self.snapshot.version, data)
        self.timestamp.version += "timestamp" in self.published
        self.write("timestamp")

    def described(self, version: int, data: bytes) -> MetaFile:
        if not self.hashes:
            return MetaFile(version)
        return MetaFile.from_data(version, data, ["sha256"])

    # Targets and delegations ------------------------------------------------------------------

    @property
    def delegated(self) -> Iterable[str]:
        return [role for role in self.roles if role not in TOP_ROLES]

    def add(self, path: str, data: bytes, role: str = "targets") -> None:
        """A target file; publish the role yourself."""
        entry = TargetFile.from_data(path, data, ["sha256"])
        self.roles[role].targets[path] = entry
        folder, slash, name = path.rpartition("/")
        self.files[f"targets/{folder}{slash}{entry.hashes['sha256']}.{name}"] = data

    def delegate(
        self,
        parent: str,
        role: str,
        paths: Iterable[str] = ("*",),
        terminating: bool = False,
        signer: CryptoSigner | None = None,
        threshold: int = 1,
    ) -> CryptoSigner:
        """Delegate `paths` to a role under one key; a role that is not there yet is made."""
        key = signer or CryptoSigner.generate_ed25519()
        entry = DelegatedRole(role, [], threshold, terminating, list(paths))
        if role not in self.roles:
            self.roles[role] = Targets(expires=day(30))
            self.signers[role] = []
        owner = self.roles[parent]
        owner.delegations = owner.delegations or Delegations({}, {})
        owner.delegations.roles[role] = entry
        owner.add_key(key.public_key, role)
        if key not in self.signers[role]:
            self.signers[role].append(key)
        return key

    # The wire ---------------------------------------------------------------------------------

    def fetch_bytes(self, url: str, max_bytes: int) -> bytes:
        """What `HttpClient.fetch_bytes` would do against this repository."""
        path = unquote(url.removeprefix("https://repository.example/"))
        self.asked.append(path)
        if path not in self.files:
            raise AbsentFileError(f"'{path}' is not there")
        if len(self.files[path]) > max_bytes:
            raise TransferError(f"'{path}' is larger than {max_bytes} bytes")
        return self.files[path]

    def saved(self) -> dict[str, bytes]:
        """The wire as it is now: what an attacker can keep and play back."""
        return copy.copy(self.files)


class Client:
    """The client under test, with one cache. Every call is what one run of the program does."""

    REFUSALS = (RepositoryError, DownloadError, RuntimeRoomError, ValueError)

    def __init__(self, repository: Repository, folder: Path, root: bytes | None = None) -> None:
        self.repository = repository
        self.cache = folder / "cache"
        self.targets = folder / "targets"
        folder.mkdir(exist_ok=True)
        (folder / "root.json").write_bytes(root or repository.trusted_root)
        tuf_cli.init(self.cache, folder / "root.json")
        self.error: Exception | None = None
        self._client = tuf_cli.Client(self.cache, METADATA, repository)  # type: ignore[arg-type]

    def refresh(self) -> bool:
        """Whether the metadata was taken."""
        return self._try(lambda: self._client.updater().refresh())

    def download(self, *paths: str) -> bool:
        """Whether all targets came, in one run of the program."""

        def get() -> None:
            for path in paths:
                tuf_cli.download(self._client, path, TARGETS, self.targets)

        return self._try(get)

    def version(self, role: str) -> int:
        """Of what the client trusts."""
        return Metadata.from_bytes((self.cache / f"{role}.json").read_bytes()).signed.version

    def holds(self, role: str) -> bool:
        return (self.cache / f"{role}.json").exists()

    def content(self) -> list[bytes]:
        """The targets on disk."""
        return [path.read_bytes() for path in sorted(self.targets.glob("*"))]

    def _try(self, act: Callable[[], object]) -> bool:
        self.repository.asked.clear()
        try:
            act()
        except self.REFUSALS as error:
            self.error = error
            return False
        return True


@pytest.fixture
def repository() -> Repository:
    """Version 1 of every role, one key each."""
    return Repository()


@pytest.fixture
def client(repository: Repository, tmp_path: Path) -> Client:
    """A client that has its root and nothing else."""
    return Client(repository, tmp_path / "client")


@pytest.fixture
def new_client(repository: Repository, tmp_path: Path) -> Callable[[bytes], Client]:
    """`new_client(root)`: a client that was made with another root."""
    return lambda root: Client(repository, tmp_path / "other", root)

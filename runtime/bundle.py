"""`Bundle`: one `.ekb` file, trusted only after every byte of it has been accounted for.

A bundle is a zip with exactly one spelling: stored members, sorted by name, fixed times and modes
(`files.stored_zip`). A reader

- bounds the file, the number of members and each member before it looks inside,
- refuses names that leave the archive, names given twice and compressed members,
- checks the manifest's schema, then every member against the manifest, both ways,
- writes the members out again and compares: bytes that nothing refers to, or a directory that two
  zip readers could understand differently, make it no bundle.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .contract import Contract
from .errors import (
    DigestError,
    MemberError,
    NotABundleError,
    SchemaVersionError,
    SizeLimitError,
)
from .files import stored_zip, write_atomic
from .golden import Golden, unpack_golden
from .manifest import Artifact, Manifest, Member
from .reference import Reference

MANIFEST = "manifest.json"
CONTRACT = "contract.json"
GOLDEN = "golden.npz"
REFERENCE = "reference.bin"
CERTIFICATE = "certificate.json"

# What a device runs, best first; what is not named comes last, and C is slower than the others.
_NUMERICS = ("int8.v1", "int4w.v1", "int16x8.v1", "float32")
_FORMATS = ("tflite", "onnx")

# What the standard library raises for a damaged directory, an encrypted or an unknown member.
_UNSOUND = (
    *(zipfile.BadZipFile, struct.error, UnicodeDecodeError, EOFError, NotImplementedError),
    *(RuntimeError, ValueError, OverflowError, OSError),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds that a reader keeps whatever a file says."""

    file_bytes: int = 256 << 20
    member_bytes: int = 128 << 20
    members: int = 256


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle. `source` is the file's name for messages."""

    source: str
    manifest: Manifest
    members: Mapping[str, bytes]

    @property
    def bundle_id(self) -> str:
        """Hex sha256 of `manifest.json`, which holds the digest of every other member."""
        return hashlib.sha256(self.members[MANIFEST]).hexdigest()

    def read(self, member: str) -> bytes:
        """Bytes of one member.

        Raises:
            MemberError: the bundle has no such member.
        """
        try:
            return self.members[member]
        except KeyError:
            raise MemberError(f"{self.source}: there is no member '{member}'") from None

    def below(self, folder: str) -> dict[str, bytes]:
        """Members of `folder` by name, such as the files of an artifact of generated C."""
        prefix = f"{folder}/"
        return {
            name.removeprefix(prefix): data
            for name, data in self.members.items()
            if name.startswith(prefix)
        }

    @property
    def contract(self) -> Contract:
        """`contract.json`.

        Raises:
            MemberError: it breaks its schema.
        """
        try:
            return msgspec.json.decode(self.read(CONTRACT), type=Contract)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MemberError(f"{self.source}: {CONTRACT} breaks its schema: {error}") from error

    def golden(self) -> Golden:
        """`golden.npz`: what every artifact must answer.

        Raises:
            MemberError: it holds other arrays than golden vectors.
        """
        return unpack_golden(self.read(GOLDEN), self.source)

    def reference(self) -> Reference:
        """`reference.bin`: what the training data looked like.

        Raises:
            MemberError: it cannot be decoded.
        """
        return Reference.from_bytes(self.read(REFERENCE), self.source)

    def artifact(self, target_id: str, fmt: str = "") -> Artifact:
        """The artifact that a device of `target_id` runs: int8 before float, tflite before onnx.

        With `fmt` only that format is looked at.

        Raises:
            MemberError: nothing was compiled for this target; names the targets that were.
        """
        mine = [artifact for artifact in self.manifest.artifacts if artifact.target == target_id]
        if not mine:
            known = ", ".join(sorted({artifact.target for artifact in self.manifest.artifacts}))
            msg = f"{self.source}: nothing for target '{target_id}'; it has: {known or 'nothing'}"
            raise MemberError(msg)
        fitting = [artifact for artifact in mine if fmt in ("", artifact.format)]
        if not fitting:
            known = ", ".join(sorted({artifact.format for artifact in mine}))
            raise MemberError(
                f"{self.source}: no {fmt} for target '{target_id}', which has: {known}; compile "
                f"again with --target {target_id} --format {fmt}"
            )
        return min(fitting, key=_rank)


def open_bundle(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """Read and verify the bundle file at `path`.

    Raises:
        NotABundleError: no such file, not a zip, no manifest, or bytes beside the members.
        SizeLimitError: the file, its number of members or one member is over `limits`.
        MemberError: a member is missing, extra, misnamed, named twice or compressed.
        DigestError: a member's bytes differ from the manifest.
        SchemaVersionError: the manifest is of another major version.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(limits.file_bytes + 1)
    except OSError as error:
        raise NotABundleError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_bundle(data, str(path), limits)


def parse_bundle(data: bytes, source: str, limits: Limits = DEFAULT_LIMITS) -> Bundle:
    """`open_bundle` for bytes; `source` names them in messages."""
    if len(data) > limits.file_bytes:
        raise SizeLimitError(f"{source}: larger than the limit of {limits.file_bytes} bytes")
    members = _read_members(data, source, limits)
    if MANIFEST not in members:
        raise NotABundleError(f"{source}: not a bundle: there is no {MANIFEST}")
    manifest = _read_manifest(members[MANIFEST], source)
    _check_members(manifest, members, source)
    _check_artifacts(manifest, members, source)
    if stored_zip(members) != data:
        raise NotABundleError(f"{source}: repacked or damaged: it has bytes beside its members")
    return Bundle(source, manifest, members)


def pack_bundle(draft: Manifest, members: Mapping[str, bytes]) -> bytes:
    """The bytes of a bundle: `draft` with its list of members filled in, and `members`.

    The same arguments give the same bytes. What this returns has been read back.

    Raises:
        BundleError: a reader would refuse it.
    """
    listed = tuple(
        Member(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in sorted(members.items())
    )
    filled = msgspec.structs.replace(draft, members=listed)
    # Through its own decoder: an int in a float field is then written as every reader writes it.
    manifest = Manifest.from_bytes(filled.to_bytes())
    if MANIFEST in members:
        raise MemberError(f"{draft.name}: {MANIFEST} is written by the bundle itself")
    packed = stored_zip({**members, MANIFEST: manifest.to_bytes()})
    parse_bundle(packed, draft.name)
    return packed


def write_bundle(path: Path, draft: Manifest, members: Mapping[str, bytes]) -> Bundle:
    """`pack_bundle` into the file `path`, atomically.

    Raises:
        BundleError: a reader would refuse it; nothing is written.
        OSError: the folder cannot be written.
    """
    packed = pack_bundle(draft, members)
    write_atomic(path, packed)
    return parse_bundle(packed, path.name)


def _rank(artifact: Artifact) -> tuple[bool, int, int]:
    return (
        artifact.format == "c",
        _place(artifact.numerics, _NUMERICS),
        _place(artifact.format, _FORMATS),
    )


def _place(name: str, known: tuple[str, ...]) -> int:
    return known.index(name) if name in known else len(known)


def _read_members(data: bytes, source: str, limits: Limits) -> dict[str, bytes]:
    """Members by name; the directory is checked before any of them is read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _check_directory(infos, len(data), source, limits)
            return {info.filename: archive.read(info) for info in infos}
    except _UNSOUND as error:
        reason = "".join(c if c.isprintable() else "?" for c in str(error))[:200]
        raise NotABundleError(f"{source}: not a bundle, or damaged: {reason}") from error


def _check_directory(
    infos: list[zipfile.ZipInfo], file_bytes: int, source: str, limits: Limits
) -> None:
    """Count, names, storage and declared sizes of the zip directory."""
    if len(infos) > limits.members:
        raise SizeLimitError(f"{source}: {len(infos)} members, the limit is {limits.members}")
    seen: set[str] = set()
    for info in infos:
        problem = _name_problem(info.orig_filename)
        if problem:
            raise MemberError(f"{source}: member {info.orig_filename!r} {problem}")
        if info.filename in seen:
            raise MemberError(f"{source}: member '{info.filename}' is there twice")
        seen.add(info.filename)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise MemberError(f"{source}: member '{info.filename}' is compressed; repack it stored")
        if info.file_size > limits.member_bytes:
            msg = (
                f"{source}: member '{info.filename}' has {info.file_size} bytes, "
                f"the limit is {limits.member_bytes}"
            )
            raise SizeLimitError(msg)
    # Overlapping members can declare more than the file holds: the quoted-overlap zip bomb.
    if sum(info.file_size for info in infos) > file_bytes:
        raise SizeLimitError(f"{source}: its members declare more bytes than the file has")


def _name_problem(name: str) -> str:
    """Why a member may not be called `name`, or an empty string."""
    if "\\" in name or "\0" in name or ":" in name:
        return "has a backslash, a colon or a zero byte in its name"
    if name.startswith("/"):
        return "has an absolute path"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "has a path that is not plain"
    if not name.isascii() or not name.isprintable():
        return "has a name that is not printable ASCII"
    return ""


def _read_manifest(data: bytes, source: str) -> Manifest:
    try:
        manifest = Manifest.from_bytes(data)
    except (NotABundleError, SchemaVersionError) as error:
        raise type(error)(f"{source}: {error}") from error
    # Two spellings of one document would be two ids of one bundle. The document is compared, not
    # the manifest: one that was written before a field was added stays what it was.
    if msgspec.json.encode(msgspec.json.decode(data), order="sorted") != data:
        raise NotABundleError(f"{source}: {MANIFEST} is not in canonical form")
    return manifest


def _check_members(manifest: Manifest, members: Mapping[str, bytes], source: str) -> None:
    """Every member against the manifest, and the manifest against the members."""
    listed = {member.path: member for member in manifest.members}
    if len(listed) != len(manifest.members):
        raise MemberError(f"{source}: {MANIFEST} lists a member twice")
    for path in sorted(listed.keys() - members.keys()):
        raise MemberError(f"{source}: member '{path}' is missing")
    for path in sorted(members.keys() - listed.keys() - {MANIFEST}):
        raise MemberError(f"{source}: member '{path}' is not in {MANIFEST}")
    if MANIFEST in listed:
        raise MemberError(f"{source}: {MANIFEST} lists itself")
    for path, member in listed.items():
        if not _matches(members[path], member.bytes, member.sha256):
            raise DigestError(f"{source}: member '{path}' differs from its digest in {MANIFEST}")


def _check_artifacts(manifest: Manifest, members: Mapping[str, bytes], source: str) -> None:
    """Artifacts name members; those of one file repeat its size and digest."""
    for artifact in manifest.artifacts:
        if artifact.path in members:
            if not _matches(members[artifact.path], artifact.bytes, artifact.sha256):
                msg = f"{source}: artifact '{artifact.path}' differs from its digest in {MANIFEST}"
                raise DigestError(msg)
        elif not any(name.startswith(f"{artifact.path.rstrip('/')}/") for name in members):
            raise MemberError(f"{source}: artifact '{artifact.path}' is no member")


def _matches(data: bytes, size: int, sha256: str) -> bool:
    return len(data) == size and hashlib.sha256(data).hexdigest() == sha256

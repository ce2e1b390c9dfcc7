"""`enrol`: a device that has nothing but a one-time token becomes a device of a fleet.

It makes its own key, asks for a certificate (or, of a broker without TLS, a password), fetches the
signed first release and verifies it against the root that the token names by its hash, so that
nobody between it and the fleet can give it another one. The folder appears as a whole or not at
all; the same token may be tried again with the same key until then.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .config import AUTHORITY_NAME, CONFIG_NAME, IDENTITY_NAME, load_device
from .errors import EnrolError
from .files import write_atomic
from .identity import new_key, request_for, write_identity
from .protocol import IdentityAnswer, IdentityRequest
from .signing import private_pem
from .trust import MAX_FACTORY_BYTES, Trust

KEY_NAME = "enrol-key.pem"  # kept until the device is enrolled, so that a lost answer costs nothing
MAX_FACTORY_FILES = 64


class EnrolToken(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator hands over; whoever has it can become the device, once."""

    tenant: str
    host: str
    port: int
    user: str
    secret: str
    root_sha256: str  # of trust/root.json
    authority: str = ""  # certificate of the broker's authority, PEM; empty: no TLS
    expires_s: float = 0.0
    schema: int = 1


class IdentitySource(Protocol):
    """The fleet's end, as a device that enrols sees it."""

    def ask(self, request: IdentityRequest) -> IdentityAnswer:
        """One answer. Raises EnrolError where none comes."""
        ...

    def fetch(self, path: str, max_bytes: int) -> bytes:
        """A file of the repository. Raises TransferError where it does not come."""
        ...

    def done(self) -> None:
        """Say that the token is not needed any more."""
        ...


def read_token(path: Path) -> EnrolToken:
    """The token in a file.

    Raises:
        EnrolError: it is missing or no token.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=EnrolToken)
    except OSError as error:
        raise EnrolError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{path} is no token ({error}); make one with: edgekiln fleet token"
        raise EnrolError(msg) from error


def enrol(token: EnrolToken, out: Path, source: IdentitySource, say: Callable[[str], None]) -> str:
    """Make the device folder `out`; the device's name.

    Raises:
        EnrolError: `out` is taken, the fleet refuses or does not answer, or what it sent does not
            belong to the token's fleet.
        TrustError: the first release does not verify.
        TransferError: a file does not come; trying again goes on with the same key.
        OSError: the disk is full or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EnrolError(f"{out} is already in use; choose an empty folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = out.with_name(f".{out.name}.{KEY_NAME}")
    key = _kept_key(kept)
    answer = source.ask(IdentityRequest(request=request_for(key, token.user)))
    if answer.error:
        raise EnrolError(f"the fleet refuses: {answer.error}")
    if hashlib.sha256(answer.root).hexdigest() != token.root_sha256:
        raise EnrolError("the fleet's root is not the one that the token names; nothing was kept")
    say(f"enrolled as {answer.device}; fetching its first release")
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700)
        _write(draft, token, key, answer)
        _fetch_factory(draft / "factory", answer.factory, source)
        Trust(draft / "tuf", answer.root).verify_factory(draft / "factory")
        load_device(draft)
        if out.exists():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    kept.unlink(missing_ok=True)
    source.done()
    return answer.device


def _kept_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key of an earlier try, or a new one that the next try will find."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
    except (OSError, ValueError):
        pass  # none, or one that a power cut tore
    made = new_key()
    write_atomic(path, private_pem(made), 0o600)
    return made


def _write(
    folder: Path, token: EnrolToken, key: ec.EllipticCurvePrivateKey, answer: IdentityAnswer
) -> None:
    trust = folder / "trust"
    trust.mkdir()
    write_atomic(folder / CONFIG_NAME, answer.config.encode())
    write_atomic(trust / "root.json", answer.root)
    write_atomic(trust / "rollout.pub", f"{answer.rollout_key}\n".encode())
    if token.authority:
        write_atomic(trust / AUTHORITY_NAME, token.authority.encode())
        write_identity(folder / IDENTITY_NAME, key, answer.certificate)
    else:
        write_atomic(folder / "password", f"{answer.password}\n".encode(), 0o600)


def _fetch_factory(folder: Path, names: tuple[str, ...], source: IdentitySource) -> None:
    if len(names) > MAX_FACTORY_FILES:
        raise EnrolError(f"the first release has {len(names)} files, at most {MAX_FACTORY_FILES}")
    for name in names:
        parts = PurePosixPath(name).parts
        if not parts or parts[0] not in ("metadata", "targets") or ".." in parts:
            raise EnrolError(f"the first release names a file outside its folder: '{name}'")
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, source.fetch(name, MAX_FACTORY_BYTES))

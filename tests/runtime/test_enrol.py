"""Enrolment at the device's end: all of it, or nothing but a key for the next try."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from edgekiln.runtime.config import load_device
from edgekiln.runtime.enrol import EnrolToken, enrol, read_token
from edgekiln.runtime.errors import AbsentFileError, EnrolError, TransferError, TrustError
from edgekiln.runtime.identity import due_for_renewal, new_key, request_for, write_identity
from edgekiln.runtime.protocol import IdentityAnswer, IdentityRequest

from .conftest import Repository, bundle

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CONFIG = """\
device = "cam-1"
tenant = "default"
target = "host"
cohorts = ["all"]

[broker]
host = "127.0.0.1"
port = 1883
username = "cam-1"
"""


def signed(request: x509.CertificateSigningRequest, days: int = 300) -> bytes:
    """A certificate over the request's key, by a key that nobody keeps."""
    issuer = new_key()
    made = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(request.subject)
        .public_key(request.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=days))
        .sign(issuer, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


class Fleet:
    """Answers from the files of a folder."""

    def __init__(self, files: Path, **changes: object) -> None:
        self._files = files
        self._changes = changes
        self.keys: list[x509.CertificateSigningRequest] = []
        self.ended = False

    def ask(self, request: IdentityRequest) -> IdentityAnswer:
        self.keys.append(x509.load_pem_x509_csr(request.request))
        names = sorted(
            path.relative_to(self._files).as_posix()
            for path in self._files.rglob("*")
            if path.is_file()
        )
        answer = IdentityAnswer(
            device="cam-1",
            config=CONFIG,
            password="secret",
            root=self._root(),
            rollout_key="00" * 31 + "01",
            factory=tuple(names),
        )
        return msgspec.structs.replace(answer, **self._changes)

    def fetch(self, path: str, max_bytes: int) -> bytes:
        if self._changes.get("silent"):
            raise TransferError("it does not come")
        return (self._files / path).read_bytes()

    def done(self) -> None:
        self.ended = True

    def _root(self) -> bytes:
        return (self._files / "metadata" / "1.root.json").read_bytes()

    @property
    def token(self) -> EnrolToken:
        digest = sha256(self._root()).hexdigest()
        return EnrolToken(
            tenant="default", host="h", port=1, user="enrol.1", secret="s", root_sha256=digest
        )


def say(_: str) -> None:
    return


@pytest.fixture
def factory(repository: Repository, tmp_path: Path) -> Path:
    repository.add(bundle(name="factory"))
    repository.copy_to(tmp_path / "files")
    return tmp_path / "files"


def test_device_can_start_when_it_is_enrolled(factory: Path, tmp_path: Path) -> None:
    fleet, out = Fleet(factory), tmp_path / "devices" / "cam-1"
    assert enrol(fleet.token, out, fleet, say) == "cam-1"
    config = load_device(out)
    assert (config.device, config.password, config.tls) == ("cam-1", "secret", None)
    assert stat.S_IMODE((out / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert fleet.ended
    assert [path.name for path in out.parent.iterdir()] == ["cam-1"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"error": "the token is used"}, EnrolError, "the fleet refuses: the token is used"),
        ({"root": b"another"}, EnrolError, "root is not the one that the token names"),
        ({"factory": ("metadata/../../x",)}, EnrolError, "outside its folder"),
        ({"factory": ("/etc/passwd",)}, EnrolError, "outside its folder"),
        ({"factory": ("device.toml",)}, EnrolError, "outside its folder"),
        ({"factory": ("targets/x",) * 65}, EnrolError, "at most 64"),
        ({"factory": ("metadata/1.root.json",)}, TrustError, "0 bundles"),
        ({"rollout_key": "zz"}, Exception, "rollout.pub"),
        ({"config": "device ="}, Exception, "no TOML"),
    ],
)
def test_nothing_is_left_but_the_key_when_the_answer_is_wrong(
    factory: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    fleet, out = Fleet(factory, **changes), tmp_path / "devices" / "cam-1"
    with pytest.raises(error, match=message):
        enrol(fleet.token, out, fleet, say)
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == [".cam-1.enrol-key.pem"]
    assert not fleet.ended


def test_next_try_asks_with_the_same_key(factory: Path, tmp_path: Path) -> None:
    out = tmp_path / "cam-1"

    class Silent(Fleet):
        def fetch(self, path: str, max_bytes: int) -> bytes:
            raise AbsentFileError(path)

    first, second = Silent(factory), Fleet(factory)
    with pytest.raises(TransferError):
        enrol(first.token, out, first, say)
    enrol(second.token, out, second, say)
    assert first.keys[0].public_key() == second.keys[0].public_key()


def test_taken_folder_is_left_alone(factory: Path, tmp_path: Path) -> None:
    (tmp_path / "cam-1").mkdir()
    (tmp_path / "cam-1" / "mine").write_text("x")
    fleet = Fleet(factory)
    with pytest.raises(EnrolError, match="already in use"):
        enrol(fleet.token, tmp_path / "cam-1", fleet, say)
    assert fleet.keys == []


@pytest.mark.parametrize("data", [None, b"", b"{}", b'{"tenant": 3}', b"\xff"])
def test_token_is_one_line_when_it_cannot_be_read(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "token.json"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(EnrolError, match=r"token\.json"):
        read_token(path)


def test_identity_is_renewed_in_the_last_third_of_its_life(tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "identity.pem"
    write_identity(path, key, signed(x509.load_pem_x509_csr(request_for(key, "cam-1"))))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not due_for_renewal(path, NOW + timedelta(days=199))
    assert due_for_renewal(path, NOW + timedelta(days=201))


def test_identity_stays_when_the_new_certificate_is_over_another_key(tmp_path: Path) -> None:
    key, path = new_key(), tmp_path / "identity.pem"
    path.write_bytes(b"old")
    foreign = signed(x509.load_pem_x509_csr(request_for(new_key(), "cam-1")))
    for certificate, message in ((foreign, "another key"), (b"junk", "damaged")):
        with pytest.raises(EnrolError, match=message):
            write_identity(path, key, certificate)
    assert path.read_bytes() == b"old"

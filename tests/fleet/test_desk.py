"""The enrolment desk: a token is good for one key, until it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from edgekiln.fleet import desk as desk_module
from edgekiln.fleet.authority import ensure_authority, issue, now_utc, revoked_file
from edgekiln.fleet.desk import Desk
from edgekiln.fleet.enrol import Place, enrol_device, make_place
from edgekiln.fleet.errors import EnrolmentError, FleetFolderError
from edgekiln.fleet.folder import FleetFolder
from edgekiln.fleet.model import Release
from edgekiln.fleet.passwords import parse_password_file, verify_password
from edgekiln.fleet.registry import quarantine, register_release
from edgekiln.fleet.revocation import revoke, revoked
from edgekiln.fleet.store import Store, open_store
from edgekiln.fleet.tokens import make_token
from edgekiln.runtime.enrol import EnrolToken
from edgekiln.runtime.identity import new_key, request_for
from edgekiln.runtime.protocol import IdentityAnswer, IdentityRequest, decode, encode

MakeBundle = Callable[..., Path]
TTL_S = 3600.0


class Said:
    """Answers by topic."""

    def __init__(self) -> None:
        self.last: dict[str, bytes] = {}

    def retain(self, topic: str, payload: bytes) -> None:
        raise AssertionError(topic)

    def confirm(self, topic: str, payload: bytes) -> None:
        self.last[topic.split("/")[-3]] = payload

    def offer(self, topic: str, payload: bytes) -> None:
        raise AssertionError(topic)


class Room:
    """A fleet with a desk, and a clock that the test turns."""

    def __init__(self, folder: FleetFolder, release: Release) -> None:
        self.folder, self.release = folder, release
        self.store: Store = open_store(folder.database)
        self.said, self.now_s = Said(), 1_900_000_000.0
        self.desk = Desk(folder, self.store, self.said, lambda: self.now_s)

    def token(self, device: str = "cam-1") -> EnrolToken:
        place: Place = make_place(self.folder, device, "host", ("all",), self.release)
        return make_token(self.folder, self.store, place, TTL_S, self.now_s)

    def ask(self, user: str, kind: str, request: bytes) -> IdentityAnswer:
        self.desk.receive(user, kind, encode(IdentityRequest(request=request)))
        assert self.desk.step()
        return decode(self.said.last[user], IdentityAnswer)

    def logins(self) -> dict[str, str]:
        return parse_password_file((self.folder.broker / "passwords").read_text())


@pytest.fixture(params=["", "fleet.example"], ids=["password", "certificate"])
def room(
    request: pytest.FixtureRequest, copied_fleet: FleetFolder, make_bundle: MakeBundle
) -> Iterator[Room]:
    broker = msgspec.structs.replace(
        copied_fleet.settings.broker, public_host=request.param, tls_port=9001, enrol_port=9002
    )
    settings = msgspec.structs.replace(copied_fleet.settings, broker=broker)
    folder = FleetFolder(copied_fleet.path, settings)
    if broker.public:
        ensure_authority(folder, now_utc())
    made = Room(folder, register_release(folder, make_bundle()))
    yield made
    made.store.close()


def test_token_gives_an_identity_and_everything_to_start_with(room: Room) -> None:
    token, key = room.token(), new_key()
    assert verify_password(token.secret, room.logins()[token.user])
    answer = room.ask(token.user, "enrol", request_for(key, "x"))
    assert (answer.error, answer.device) == ("", "cam-1")
    assert any(name.endswith(".ekb") for name in answer.factory)
    assert room.store.enrolments()["cam-1"].cohorts == ("all",)
    if room.folder.settings.broker.public:
        certificate = x509.load_pem_x509_certificate(answer.certificate)
        assert certificate.public_key() == key.public_key()
        assert ("port = 9001" in answer.config, token.port) == (True, 9002)
        assert "cam-1" not in room.logins()
    else:
        assert verify_password(answer.password, room.logins()["cam-1"])


def test_token_serves_its_key_again_and_no_other(room: Room) -> None:
    token, key = room.token(), new_key()
    room.ask(token.user, "enrol", request_for(key, "x"))
    assert room.ask(token.user, "enrol", request_for(key, "x")).error == ""
    refused = room.ask(token.user, "enrol", request_for(new_key(), "x"))
    assert "used by another device" in refused.error
    assert (refused.certificate, refused.password) == (b"", "")


def test_login_of_a_token_ends_when_the_device_is_enrolled_or_its_time_is_over(room: Room) -> None:
    first, second = room.token("cam-1"), room.token("cam-2")
    room.ask(first.user, "enrol", request_for(new_key(), "x"))
    room.desk.receive(first.user, "enrolled", b"")
    assert room.desk.step()
    assert first.user not in room.logins()
    room.now_s += TTL_S
    assert not room.desk.step()
    assert second.user not in room.logins()
    late = room.ask(second.user, "enrol", request_for(new_key(), "x"))
    assert "expired" in late.error


def test_device_cannot_end_the_login_of_another(room: Room) -> None:
    room.ask(room.token("cam-2").user, "enrol", request_for(new_key(), "x"))
    before = room.logins()
    room.desk.receive("cam-2", "enrolled", b"")
    assert room.desk.step()
    assert room.logins() == before


def test_nothing_is_given_when_the_first_release_is_quarantined_by_then(room: Room) -> None:
    token = room.token()
    quarantine(room.store, room.release.bundle_id, "it fails")
    assert "quarantined" in room.ask(token.user, "enrol", request_for(new_key(), "x")).error
    assert room.store.enrolments() == {}


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x81", encode(IdentityRequest(request=b"x"))])
def test_request_that_cannot_be_read_is_refused_in_one_line(room: Room, payload: bytes) -> None:
    token = room.token()
    for user, kind in ((token.user, "enrol"), ("cam-1", "renew"), ("enrol.nobody", "enrol")):
        room.desk.receive(user, kind, payload)
        assert room.desk.step()
        answer = decode(room.said.last[user], IdentityAnswer)
        assert answer.error
        assert "\n" not in answer.error


def test_request_with_a_key_of_an_unknown_curve_is_refused(room: Room) -> None:
    import base64

    pem = request_for(new_key(), "x")
    raw = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    curve, unknown = (bytes.fromhex(f"06082a8648ce3d0301{last}") for last in ("07", "19"))
    body = base64.encodebytes(raw.replace(curve, unknown))
    strange = pem.splitlines()[0] + b"\n" + body + pem.splitlines()[-1] + b"\n"
    token = room.token()
    assert "cannot be read" in room.ask(token.user, "enrol", strange).error
    assert room.ask(token.user, "enrol", pem).error == ""
    assert room.ask("cam-1", "renew", strange).error


@pytest.mark.parametrize("used", [True, False])
def test_token_of_a_revoked_device_lets_nobody_back_in(room: Room, used: bool) -> None:
    token, key = room.token(), new_key()
    other = room.token("cam-2")
    room.ask(room.token().user, "enrol", request_for(new_key(), "x"))
    if used:  # and its device never said that it needs the token no more
        room.ask(token.user, "enrol", request_for(key, "x"))
    revoke(room.folder, room.store, "cam-1", "stolen", room.now_s)
    assert "not known" in room.ask(token.user, "enrol", request_for(key, "x")).error
    assert revoked(room.store) == ("cam-1",)
    assert token.user not in room.logins()
    assert other.user in room.logins()


def test_renewal_gives_nothing_when_the_device_is_revoked_meanwhile(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not room.folder.settings.broker.public:
        return
    first = room.ask(room.token().user, "enrol", request_for(new_key(), "x"))

    def slow(*of: Any) -> x509.Certificate:
        revoke(room.folder, room.store, "cam-1", "stolen", room.now_s)
        return issue(*of)

    monkeypatch.setattr(desk_module, "issue", slow)
    answer = room.ask("cam-1", "renew", request_for(new_key(), "x"))
    assert answer.certificate == b""
    assert "not enrolled any more" in answer.error
    entries = list(x509.load_pem_x509_crl(revoked_file(room.folder).read_bytes()))
    serial = x509.load_pem_x509_certificate(first.certificate).serial_number
    assert len(entries) == 2
    assert serial in {entry.serial_number for entry in entries}


def test_old_folder_stops_working_when_its_device_is_enrolled_in_the_workshop(
    room: Room, tmp_path: Path
) -> None:
    answer = room.ask(room.token().user, "enrol", request_for(new_key(), "x"))
    enrol_device(room.folder, "cam-1", "host", ("all",), tmp_path / "cam-1", room.release)
    if room.folder.settings.broker.public:
        serial = x509.load_pem_x509_certificate(answer.certificate).serial_number
        entries = x509.load_pem_x509_crl(revoked_file(room.folder).read_bytes())
        assert {entry.serial_number for entry in entries} == {serial}
    else:
        assert not verify_password(answer.password, room.logins()["cam-1"])


def test_renewal_gives_a_certificate_and_never_a_new_password(room: Room) -> None:
    room.ask(room.token().user, "enrol", request_for(new_key(), "x"))
    before, key = room.logins(), new_key()
    answer = room.ask("cam-1", "renew", request_for(key, "x"))
    assert room.logins() == before
    if room.folder.settings.broker.public:
        found = x509.load_pem_x509_certificate(answer.certificate)
        assert found.public_key() == key.public_key()
    else:
        assert "new token" in answer.error
    assert "not enrolled" in room.ask("cam-7", "renew", request_for(key, "x")).error


def test_revoked_device_has_no_way_left_until_it_is_enrolled_again(room: Room) -> None:
    answer = room.ask(room.token().user, "enrol", request_for(new_key(), "x"))
    revoke(room.folder, room.store, "cam-1", "stolen", room.now_s)
    assert revoked(room.store) == ("cam-1",)
    assert "cam-1" not in room.logins()
    assert "user cam-1\ntopic deny #" in (room.folder.broker / "acl").read_text()
    assert "not enrolled" in room.ask("cam-1", "renew", request_for(new_key(), "x")).error
    if room.folder.settings.broker.public:
        serial = x509.load_pem_x509_certificate(answer.certificate).serial_number
        entries = x509.load_pem_x509_crl(revoked_file(room.folder).read_bytes())
        assert {entry.serial_number for entry in entries} == {serial}
    assert room.ask(room.token().user, "enrol", request_for(new_key(), "x")).error == ""
    assert revoked(room.store) == ()
    assert "deny" not in (room.folder.broker / "acl").read_text()


def test_token_is_refused_when_its_life_makes_no_sense_or_its_name_is_reserved(room: Room) -> None:
    place = make_place(room.folder, "cam-1", "host", ("all",), room.release)
    for ttl_s in (0.0, -1.0, 91 * 86400.0):
        with pytest.raises(EnrolmentError, match="90 days"):
            make_token(room.folder, room.store, place, ttl_s, room.now_s)
    with pytest.raises(FleetFolderError, match="server's own"):
        make_place(room.folder, "enrol.x", "host", ("all",), room.release)

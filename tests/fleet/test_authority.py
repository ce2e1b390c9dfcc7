"""The fleet's authority: what it signs, for whom, and what it takes back."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from edgekiln.fleet.authority import (
    DEVICE_DAYS,
    authority_file,
    broker_files,
    ensure_authority,
    issue,
    revoked_file,
    write_revoked,
)
from edgekiln.fleet.errors import EnrolmentError, FleetFolderError
from edgekiln.fleet.folder import FleetFolder
from edgekiln.runtime.identity import new_key, request_for

NOW = datetime(2031, 5, 1, tzinfo=UTC)


@pytest.fixture
def public(copied_fleet: FleetFolder) -> FleetFolder:
    broker = msgspec.structs.replace(copied_fleet.settings.broker, public_host="fleet.example")
    settings = msgspec.structs.replace(copied_fleet.settings, broker=broker)
    folder = FleetFolder(copied_fleet.path, settings)
    ensure_authority(folder, NOW)
    return folder


def store_of(folder: FleetFolder) -> Store:
    return Store([x509.load_pem_x509_certificate(authority_file(folder).read_bytes())])


def test_certificate_names_the_fleets_device_whatever_the_request_says(
    public: FleetFolder,
) -> None:
    key = new_key()
    made = issue(public, request_for(key, "somebody-else"), "cam-1", NOW)
    (name,) = made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "cam-1"
    assert made.public_key() == key.public_key()
    assert made.not_valid_after_utc == NOW + timedelta(days=DEVICE_DAYS)
    key_usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(key_usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_brokers_certificate_holds_for_its_name_and_no_other(public: FleetFolder) -> None:
    made = x509.load_pem_x509_certificate(broker_files(public)[0].read_bytes())
    builder = PolicyBuilder().store(store_of(public)).time(NOW)
    chain = builder.build_server_verifier(x509.DNSName("fleet.example")).verify(made, [])
    assert len(chain) == 2
    with pytest.raises(x509.verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("other.example")).verify(made, [])


def test_files_load_in_openssl_when_it_is_strict(public: FleetFolder) -> None:
    context = ssl.create_default_context(cafile=str(authority_file(public)))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*broker_files(public))
    client_in, client_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    # The authority is dated by the test's clock: only signatures and extensions count here.
    context.verify_flags |= 0x200000  # X509_V_FLAG_NO_CHECK_TIME
    client = context.wrap_bio(client_in, client_out, server_hostname="fleet.example")
    peer = server.wrap_bio(server_in, server_out, server_side=True)
    for _ in range(4):
        for side in (client, peer):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        server_in.write(client_out.read())
        client_in.write(server_out.read())
    assert client.version() in ("TLSv1.2", "TLSv1.3")


def _csr(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, algorithm)
    return made.public_bytes(serialization.Encoding.PEM)


def _tampered() -> bytes:
    made = x509.load_pem_x509_csr(_csr(new_key()))
    data = bytearray(made.public_bytes(serialization.Encoding.DER))
    data[-1] ^= 1
    return x509.load_der_x509_csr(bytes(data)).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("request_pem", "message"),
    [
        (b"", "cannot be read"),
        (b"\xff" * 100, "cannot be read"),
        (b"x" * 9000, "has 9000 bytes"),
        (_csr(ed25519.Ed25519PrivateKey.generate()), "curve P-256"),
        (_csr(ec.generate_private_key(ec.SECP384R1())), "curve P-256"),
        (_tampered(), "not signed by its own key"),
    ],
)
def test_request_is_refused_when_it_is_not_sound(
    public: FleetFolder, request_pem: bytes, message: str
) -> None:
    with pytest.raises(EnrolmentError, match=message):
        issue(public, request_pem, "cam-1", NOW)


def test_list_holds_what_was_revoked_and_is_signed_by_the_authority(public: FleetFolder) -> None:
    write_revoked(public, (5, 1 << 150), NOW)
    found = x509.load_pem_x509_crl(revoked_file(public).read_bytes())
    authority = x509.load_pem_x509_certificate(authority_file(public).read_bytes())
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert found.is_signature_valid(key)
    assert {entry.serial_number for entry in found} == {5, 1 << 150}


def test_authority_stays_and_brokers_certificate_is_renewed_in_time(public: FleetFolder) -> None:
    authority, broker = authority_file(public).read_bytes(), broker_files(public)[0].read_bytes()
    ensure_authority(public, NOW + timedelta(days=700))
    assert broker_files(public)[0].read_bytes() == broker
    ensure_authority(public, NOW + timedelta(days=800))
    assert broker_files(public)[0].read_bytes() != broker
    assert authority_file(public).read_bytes() == authority


def test_issuing_is_one_line_when_the_authoritys_key_was_taken_away(public: FleetFolder) -> None:
    public.key_file("authority").unlink()
    with pytest.raises(FleetFolderError, match=r"authority's key .* put it back"):
        issue(public, request_for(new_key(), "x"), "cam-1", NOW)

"""The fleet's own certificate authority: who a device is to the broker, and who the broker is.

ECDSA over P-256, which every TLS library of a small device speaks (RFC 5280, RFC 5480). A device
makes its own key and sends a request; the name in its certificate is the one that the fleet gave
it, whatever the request says. Certificates are revoked by a list that the broker reads.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgekiln.runtime.files import write_atomic
from edgekiln.runtime.signing import private_pem

from .errors import EnrolmentError, FleetFolderError
from .folder import FleetFolder

AUTHORITY_DAYS = 3650
BROKER_DAYS = 825  # longer ones are refused by some TLS libraries
DEVICE_DAYS = 365
LIST_DAYS = 3650  # a list that expires would lock every device out
SKEW = timedelta(hours=24)  # devices' clocks are wrong
MAX_REQUEST_BYTES = 8192


def authority_file(folder: FleetFolder) -> Path:
    """The authority's certificate, which devices get."""
    return folder.broker / "authority.pem"


def broker_files(folder: FleetFolder) -> tuple[Path, Path]:
    """Certificate and key of the broker."""
    return folder.broker / "broker-cert.pem", folder.broker / "broker-key.pem"


def revoked_file(folder: FleetFolder) -> Path:
    """The list of revoked certificates."""
    return folder.broker / "revoked.pem"


def ensure_authority(folder: FleetFolder, now: datetime) -> None:
    """Make what the broker's TLS listeners need, where it is not there or ends soon.

    Raises:
        FleetFolderError: the authority's key is not in keys/online.
    """
    if not authority_file(folder).exists():
        _make_authority(folder, now)
        write_revoked(folder, (), now)
    certificate, _ = broker_files(folder)
    if not certificate.exists() or _ends_soon(certificate, now):
        _make_broker(folder, now)


def issue(folder: FleetFolder, request_pem: bytes, device: str, now: datetime) -> x509.Certificate:
    """A certificate for `device` over the key of a signed request (PKCS #10, PEM).

    Raises:
        EnrolmentError: the request is too large, damaged, not signed by its key, or has a key of
            another kind than P-256.
        FleetFolderError: the authority's key is not in keys/online.
    """
    if len(request_pem) > MAX_REQUEST_BYTES:
        raise EnrolmentError(f"the certificate request has {len(request_pem)} bytes")
    try:
        request = x509.load_pem_x509_csr(request_pem)
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise EnrolmentError("the certificate request cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise EnrolmentError("the certificate request needs a key on the curve P-256")
    if not signed:
        raise EnrolmentError("the certificate request is not signed by its own key")
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _signed(folder, _name(device), key, now, DEVICE_DAYS, (usage,))


def write_revoked(folder: FleetFolder, serials: Iterable[int], now: datetime) -> None:
    """Write the list of revoked certificates."""
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(_key(folder).public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .add_extension(signer, critical=False)
        .issuer_name(_authority(folder).subject)
        .last_update(now - SKEW)
        .next_update(now + timedelta(days=LIST_DAYS))
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    signed = builder.sign(_key(folder), hashes.SHA256())
    write_atomic(revoked_file(folder), signed.public_bytes(serialization.Encoding.PEM))


def pem(certificate: x509.Certificate) -> bytes:
    """As text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _make_authority(folder: FleetFolder, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Edgekiln fleet {folder.tenant}")
    certificate = (
        _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_atomic(folder.key_file("authority"), private_pem(key), 0o600)
    write_atomic(authority_file(folder), pem(certificate))


def _make_broker(folder: FleetFolder, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    host = folder.settings.broker.public_host
    extensions = (
        x509.SubjectAlternativeName([_host(host), x509.DNSName("localhost")]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    made = _signed(folder, _name(host), key.public_key(), now, BROKER_DAYS, extensions)
    certificate, key_file = broker_files(folder)
    write_atomic(key_file, private_pem(key), 0o600)
    write_atomic(certificate, pem(made))


def _signed(
    folder: FleetFolder,
    name: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
    extensions: Iterable[x509.ExtensionType],
) -> x509.Certificate:
    builder = _builder(name, _authority(folder).subject, key, now, days).add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    # Python 3.13 and OpenSSL in strict mode refuse certificates without these two.
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(_key(folder).public_key())
    own = x509.SubjectKeyIdentifier.from_public_key(key)
    extensions = (*extensions, signer, own)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(_key(folder), hashes.SHA256())


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(folder: FleetFolder) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority_file(folder).read_bytes())


def _key(folder: FleetFolder) -> ec.EllipticCurvePrivateKey:
    path = folder.key_file("authority")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        msg = f"the authority's key {path} is not here; put it back for this command"
        raise FleetFolderError(msg) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FleetFolderError(f"{path} is no key of the authority")
    return key


def _ends_soon(path: Path, now: datetime) -> bool:
    ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    return ends < now + timedelta(days=30)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def now_utc() -> datetime:
    """The time, to the second, as certificates keep it."""
    return datetime.now(UTC).replace(microsecond=0)

"""A device's identity: a key that never leaves it, and the certificate that the fleet gave it.

Both are in one file, `identity.pem`, so that a renewal replaces them in one rename.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .errors import EnrolError
from .files import write_atomic
from .signing import private_pem

RENEW_AT = 1 / 3  # of a certificate's life that is left


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key on the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def request_for(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A certificate request (PKCS #10, PEM) that the key has signed."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write_identity(path: Path, key: ec.EllipticCurvePrivateKey, certificate: bytes) -> None:
    """Replace the identity, whole or not at all; only the device's own user can read it.

    Raises:
        EnrolError: the certificate is damaged, or over another key.
        OSError: the folder cannot be written.
    """
    try:
        given = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise EnrolError("the fleet answered with a damaged certificate") from error
    if given != key.public_key():
        raise EnrolError("the fleet answered with a certificate over another key")
    write_atomic(path, private_pem(key) + certificate, 0o600)


def due_for_renewal(path: Path, now: datetime) -> bool:
    """Whether less than a third of the certificate's life is left.

    Raises:
        EnrolError: the file is missing or damaged.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EnrolError(f"{path} cannot be read; enrol the device again") from error
    ends = certificate.not_valid_after_utc
    return ends - now < (ends - certificate.not_valid_before_utc) * RENEW_AT

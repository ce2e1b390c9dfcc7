"""Ed25519 signatures over the exact bytes of a document.

What is signed is what travels: the payload stays raw JSON until its signature holds, so there is
no canonical form to disagree about and no unverified field is ever read.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from .errors import TrustError
from .protocol import SignedDocument

Document = TypeVar("Document", bound=msgspec.Struct)

PUBLIC_KEY_BYTES = 32


def key_id(key: Ed25519PublicKey) -> str:
    """Hex sha256 of the raw public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def private_pem(key: PrivateKeyTypes) -> bytes:
    """A private key as PEM (PKCS #8), not encrypted: for files that their owner alone can read."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_key_from_hex(text: str) -> Ed25519PublicKey:
    """Read the hex form of a raw public key, as kept in `trust/rollout.pub`.

    Raises:
        TrustError: the text is no Ed25519 public key.
    """
    try:
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text.strip()))
    except ValueError as error:
        raise TrustError(f"no Ed25519 public key of {PUBLIC_KEY_BYTES} bytes in hex") from error


def sign_document(document: msgspec.Struct, private_key: Ed25519PrivateKey) -> bytes:
    """The document's JSON in a `SignedDocument`, itself as JSON."""
    payload = msgspec.json.encode(document)
    signed = SignedDocument(
        signed=msgspec.Raw(payload),
        keyid=key_id(private_key.public_key()),
        signature=private_key.sign(payload).hex(),
    )
    return msgspec.json.encode(signed)


def verify_document(data: bytes, public_key: Ed25519PublicKey, kind: type[Document]) -> Document:
    """Check the signature of a `SignedDocument` and only then decode what it signs.

    Raises:
        TrustError: not a signed document, another key's, a signature that does not hold, or a
            payload that is not a `kind`.
    """
    try:
        document = msgspec.json.decode(data, type=SignedDocument)
        signature = bytes.fromhex(document.signature)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TrustError(f"not a signed document: {error}") from error
    if document.keyid != key_id(public_key):
        raise TrustError(f"the document is signed by key {document.keyid[:12]}, which is not ours")
    payload = bytes(document.signed)
    try:
        public_key.verify(signature, payload)
    except InvalidSignature as error:
        raise TrustError("the document's signature does not hold") from error
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise TrustError(f"the signed document is no {kind.__name__}: {error}") from error

"""Signed documents: nothing unsigned is read."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.errors import TrustError
from edgekiln.runtime.protocol import Ack, RolloutDocument, SignedDocument
from edgekiln.runtime.signing import key_id, public_key_from_hex, sign_document, verify_document

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
DOCUMENT = RolloutDocument(
    rollout_id="r1", version=1, cohort="all", release="b" * 64, target_path="bundles/b.ekb",
    sha256="c" * 64, salt="s", permille=100,
)  # fmt: skip
SIGNED = sign_document(DOCUMENT, KEY)


def test_verify_returns_the_document_when_untouched() -> None:
    assert verify_document(SIGNED, KEY.public_key(), RolloutDocument) == DOCUMENT


@given(st.integers(0, len(SIGNED) * 8 - 1))
def test_verify_never_returns_another_document_when_a_bit_flips(bit: int) -> None:
    data = bytearray(SIGNED)
    data[bit // 8] ^= 1 << (bit % 8)
    try:
        found = verify_document(bytes(data), KEY.public_key(), RolloutDocument)
    except TrustError:
        return
    # A flip in the envelope outside payload and signature (hex case, a field's name that nobody
    # reads) may pass; what was signed is then still exactly what is returned.
    assert found == DOCUMENT


@given(st.binary(max_size=80))
def test_verify_refuses_in_one_line_when_given_rubbish(data: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        verify_document(data, KEY.public_key(), RolloutDocument)
    assert "\n" not in str(caught.value)


def test_verify_refuses_when_another_key_signed() -> None:
    with pytest.raises(TrustError, match="not ours"):
        verify_document(sign_document(DOCUMENT, OTHER), KEY.public_key(), RolloutDocument)


def test_verify_refuses_when_the_key_id_lies() -> None:
    forged = msgspec.json.decode(sign_document(DOCUMENT, OTHER), type=SignedDocument)
    forged = msgspec.structs.replace(forged, keyid=key_id(KEY.public_key()))
    with pytest.raises(TrustError, match="does not hold"):
        verify_document(msgspec.json.encode(forged), KEY.public_key(), RolloutDocument)


def test_verify_refuses_when_the_payload_is_of_another_kind() -> None:
    with pytest.raises(TrustError, match="no RolloutDocument"):
        verify_document(
            sign_document(Ack(boot_id="b", seq=1), KEY), KEY.public_key(), RolloutDocument
        )


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31, "ab" * 33])
def test_public_key_from_hex_refuses_when_malformed(text: str) -> None:
    with pytest.raises(TrustError, match="Ed25519"):
        public_key_from_hex(text)


def test_public_key_from_hex_reads_what_was_written() -> None:
    text = KEY.public_key().public_bytes_raw().hex() + "\n"
    assert key_id(public_key_from_hex(text)) == key_id(KEY.public_key())

"""`seal` and `open_update`: the signed update of a microcontroller's model, made and read back.

The layout is that of c/update/ek_envelope.h: a head with its Ed25519 signature, the SHA-256 of each
block, the image. The fields are those of SUIT manifests (RFC 9124): vendor, class, sequence number,
digest and size, and beside them the structure that image and program must share.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .errors import TrustError

MAGIC = b"EKUPDATE"
SCHEMA = 1
HEAD_BYTES = 224
SIGNATURE_BYTES = 64
BLOCK_BYTES = 1024
SMALLEST_BLOCK = 256
IMAGE_UNIT = 32
_SIGNED = struct.Struct("<8sHHIII8s16s16s32s32s32s")
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Addressee:
    """Devices that an update is for: 16 bytes of the vendor and of the class of device."""

    vendor_id: bytes
    class_id: bytes

    @staticmethod
    def of(tenant: str, target: str) -> Addressee:
        """UUIDs of a fleet's tenant and of one of its targets, name-based as RFC 9124 asks."""
        vendor = uuid.uuid5(uuid.NAMESPACE_URL, f"edgekiln:tenant:{tenant}")
        return Addressee(vendor.bytes, uuid.uuid5(vendor, target).bytes)


@dataclass(frozen=True, slots=True)
class Head:
    """What is signed. `structure`, `release` and `table` are SHA-256 digests."""

    security_counter: int
    image_bytes: int
    block_bytes: int
    key_id: bytes
    addressee: Addressee
    structure: bytes
    release: bytes
    table: bytes

    @property
    def blocks(self) -> int:
        """How many blocks the image has."""
        return -(-self.image_bytes // self.block_bytes)

    def pack(self) -> bytes:
        """The bytes that are signed."""
        return _SIGNED.pack(
            *(MAGIC, SCHEMA, HEAD_BYTES, self.security_counter),
            *(self.image_bytes, self.block_bytes, self.key_id),
            *(self.addressee.vendor_id, self.addressee.class_id),
            *(self.structure, self.release, self.table),
        )


@dataclass(frozen=True, slots=True)
class Update:
    """A verified update."""

    head: Head
    image: bytes


def key_id_of(public_key: Ed25519PublicKey) -> bytes:
    """The first 8 bytes of the SHA-256 of the raw key."""
    return _key_id(public_key.public_bytes_raw())


def public_key_ids(keys: Iterable[bytes]) -> tuple[str, ...]:
    """Ids in hex of raw public keys."""
    return tuple(_key_id(key).hex() for key in keys)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:8]


def seal(
    image: bytes,
    addressee: Addressee,
    structure: bytes,
    release: bytes,
    security_counter: int,
    key: Ed25519PrivateKey,
    block_bytes: int = BLOCK_BYTES,
) -> bytes:
    """The update of `image`, whose size is a multiple of 32, for devices that trust `key`.

    Raises ValueError where a size or the counter does not fit the layout.
    """
    if not image or len(image) % IMAGE_UNIT:
        raise ValueError(f"an image of {len(image)} bytes; images have multiples of {IMAGE_UNIT}")
    if block_bytes < SMALLEST_BLOCK or block_bytes & (block_bytes - 1):
        raise ValueError(f"blocks of {block_bytes} bytes; it takes a power of two from 256")
    if not 0 <= security_counter < 1 << 32:
        raise ValueError(f"the security counter {security_counter} does not fit 32 bits")
    table = b"".join(hashlib.sha256(block).digest() for block in _blocks(image, block_bytes))
    head = Head(
        security_counter=security_counter,
        image_bytes=len(image),
        block_bytes=block_bytes,
        key_id=key_id_of(key.public_key()),
        addressee=addressee,
        structure=structure,
        release=release,
        table=hashlib.sha256(table).digest(),
    ).pack()
    return head + key.sign(head) + table + image


def open_update(data: bytes, keys: Iterable[Ed25519PublicKey]) -> Update:
    """Check form, signature and every block; whom it is for is the caller's to compare.

    Raises TrustError: what does not hold.
    """
    head = _read_head(data)
    key = next((key for key in keys if key_id_of(key) == head.key_id), None)
    if key is None:
        raise TrustError(f"the update is signed by key {head.key_id.hex()}, which is not ours")
    try:
        key.verify(data[_SIGNED.size : HEAD_BYTES], data[: _SIGNED.size])
    except InvalidSignature as error:
        raise TrustError("the update's signature does not hold") from error
    start = HEAD_BYTES + _DIGEST_BYTES * head.blocks
    table, image = data[HEAD_BYTES:start], data[start:]
    if len(image) != head.image_bytes:
        raise TrustError(f"the image has {len(image)} bytes, its head says {head.image_bytes}")
    if hashlib.sha256(table).digest() != head.table:
        raise TrustError("the hashes of the blocks are not those that were signed")
    for index, block in enumerate(_blocks(image, head.block_bytes)):
        expected = table[_DIGEST_BYTES * index : _DIGEST_BYTES * (index + 1)]
        if hashlib.sha256(block).digest() != expected:
            raise TrustError(f"block {index} is not the one that was signed")
    return Update(head, image)


def _read_head(data: bytes) -> Head:
    if len(data) < HEAD_BYTES:
        raise TrustError(f"{len(data)} bytes are no update")
    magic, schema, head_bytes, *rest = _SIGNED.unpack_from(data)
    if (magic, schema, head_bytes) != (MAGIC, SCHEMA, HEAD_BYTES):
        raise TrustError("no update of a schema that is known here")
    counter, image_bytes, block_bytes, key_id, vendor, kind, *digests = rest
    if block_bytes < SMALLEST_BLOCK or block_bytes & (block_bytes - 1):
        raise TrustError(f"the head says blocks of {block_bytes} bytes")
    if image_bytes == 0 or image_bytes % IMAGE_UNIT:
        raise TrustError(f"the head says an image of {image_bytes} bytes")
    return Head(counter, image_bytes, block_bytes, key_id, Addressee(vendor, kind), *digests)


def _blocks(image: bytes, block_bytes: int) -> Iterable[bytes]:
    return (image[at : at + block_bytes] for at in range(0, len(image), block_bytes))

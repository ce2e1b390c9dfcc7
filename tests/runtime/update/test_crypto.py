"""SHA-2 and Ed25519 in C beside published vectors, hashlib, OpenSSL and Python's integers."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import operator
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

BuildLibrary = Callable[..., ctypes.CDLL]

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P

# RFC 8032, 7.1: secret key, public key, message, signature
RFC_8032 = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3970"
        "1cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613"
        "d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760"
        "984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c6"
        "6431e0303dca179c138ac17ad9bef1177331a704",
    ),
)

# FIPS 180-4 examples, and the million of a's: message, repetitions, SHA-256, first half of SHA-512
FIPS_180 = (
    (b"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "ddaf35a19361"),
    (b"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "cf83e1357eef"),
    (
        *(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1),
        *("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", "204a8fc6dda8"),
    ),
    (
        *(b"a", 1_000_000),
        *("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", "e718483d0ce7"),
    ),
)


def number(words: Iterable[int]) -> int:
    return sum(word << 32 * index for index, word in enumerate(words))


def verify(library: ctypes.CDLL, key: bytes, message: bytes, signature: bytes) -> bool:
    return bool(library.ek_ed25519_verify(key, message, len(message), signature))


def openssl(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def digest(library: ctypes.CDLL, bits: int, pieces: list[bytes]) -> bytes:
    state, out = ctypes.create_string_buffer(512), ctypes.create_string_buffer(64)
    getattr(library, f"ek_sha{bits}_init")(state)
    for piece in pieces:
        getattr(library, f"ek_sha{bits}_update")(state, piece, len(piece))
    getattr(library, f"ek_sha{bits}_final")(state, out)
    return out.raw[: bits // 8]


@dataclass(frozen=True)
class Point:
    """Affine, in Python's integers."""

    x: int
    y: int

    def __add__(self, other: Point) -> Point:
        t = D * self.x * other.x * self.y * other.y % P
        x = (self.x * other.y + self.y * other.x) * pow(1 + t, -1, P)
        return Point(x % P, (self.y * other.y + self.x * other.x) * pow(1 - t, -1, P) % P)

    def __mul__(self, times: int) -> Point:
        total, power = Point(0, 1), self
        for bit in range(times.bit_length()):
            total = total + power if times >> bit & 1 else total
            power += power
        return total

    def __neg__(self) -> Point:
        return Point(-self.x % P, self.y)

    @property
    def encoded(self) -> bytes:
        return (self.y | (self.x & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """RFC 8032, 5.1.3."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square or (x == 0 and sign):
        return None
    return Point(x if x & 1 == sign else P - x, y)


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little")) or Point(0, 1)
NOTHING = Point(0, 1)


def small(point: Point | None) -> bool:
    return point is not None and point * 8 == NOTHING


def strict(key: bytes, message: bytes, signature: bytes) -> bool:
    """The rule that ek_ed25519.h states."""
    a, s = decode(key), int.from_bytes(signature[32:], "little")
    if a is None or small(a) or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    r = BASE * s + -(a * k)
    return r.encoded == signature[:32] and not small(r)


def subgroup(key: bytes) -> Point:
    """The part of a key that the base generates."""
    return (decode(key) or NOTHING) * (8 * pow(8, -1, L) % (8 * L))


def torsion() -> list[Point]:
    """The eight points of small order."""
    points = (decode(y.to_bytes(32, "little")) for y in itertools.count(2))
    eighth = next(p * L for p in points if p is not None and p * (4 * L) != NOTHING)
    return [eighth * n for n in range(8)]


def oddities() -> Iterator[tuple[bytes, bytes, bytes]]:
    """Keys, messages and signatures at the edges where verifiers of Ed25519 are known to differ."""
    rng = random.Random(3)
    orders = torsion()
    spellings = [p.encoded for p in orders]
    # Encodings that are not canonical: y + p, and the sign of an x that is 0.
    spellings += [(p.y + P).to_bytes(32, "little") for p in orders if p.y + P < 1 << 255]
    spellings += [bytes((*p.encoded[:31], p.encoded[31] | 0x80)) for p in orders if p.x == 0]
    for key, nonce in itertools.product(spellings, spellings):
        yield key, b"", nonce + bytes(32)
    nonce = (BASE * 3).encoded + (3).to_bytes(32, "little")
    yield from ((key, bytes([i]), nonce) for key in spellings for i in range(8))
    for i in range(8):
        a, r = rng.randrange(1, L), rng.randrange(1, L)
        t, u = rng.choice(orders), rng.choice(orders)
        message = rng.randbytes(i)
        for key, nonce in (
            ((BASE * a + t).encoded, (BASE * r + u).encoded),  # mixed order
            (rng.choice(spellings), (BASE * r).encoded),
            ((BASE * a).encoded, rng.choice(spellings)),
            (rng.choice(spellings), rng.choice(spellings)),
        ):
            k = int.from_bytes(hashlib.sha512(nonce + key + message).digest(), "little") % L
            for s in ((r + k * a) % L, r, k * a % L, 0):
                yield key, message, nonce + s.to_bytes(32, "little")
                if s + L < 1 << 256:
                    yield key, message, nonce + (s + L).to_bytes(32, "little")


@pytest.fixture(
    scope="session", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["wide", "v6m"]
)
def any_library(
    request: pytest.FixtureRequest, build_library: BuildLibrary, update_library: ctypes.CDLL
) -> ctypes.CDLL:
    """With products of 64 bits, and as cores have it that multiply 32 bits to 32."""
    return build_library("-D__ARM_ARCH_6M__") if request.param else update_library


@pytest.mark.parametrize(("message", "times", "sha256", "sha512"), FIPS_180)
def test_hashes_equal_the_standards_examples(
    update_library: ctypes.CDLL, message: bytes, times: int, sha256: str, sha512: str
) -> None:
    assert digest(update_library, 256, [message * times]).hex() == sha256
    assert digest(update_library, 512, [message * times]).hex().startswith(sha512)


def test_hashes_equal_hashlibs_when_a_message_comes_in_pieces(update_library: ctypes.CDLL) -> None:
    rng = random.Random(0)
    for length in range(300):
        data = rng.randbytes(length)
        cut = rng.randrange(length + 1)
        for bits in (256, 512):
            expected = hashlib.new(f"sha{bits}", data).digest()
            assert digest(update_library, bits, [data[:cut], data[cut:]]) == expected


@pytest.mark.parametrize(("secret", "key", "message", "signature"), RFC_8032)
def test_signature_holds_when_it_is_a_vector_of_rfc_8032(
    any_library: ctypes.CDLL, secret: str, key: str, message: str, signature: str
) -> None:
    texts = (bytes.fromhex(text) for text in (secret, key, message, signature))
    raw, public, data, signed = texts
    assert Ed25519PrivateKey.from_private_bytes(raw).sign(data) == signed
    assert verify(any_library, public, data, signed)
    assert not verify(any_library, public, data + b"\0", signed)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply"])
def test_field_equals_big_integers_when_words_are_at_their_ends(
    any_library: ctypes.CDLL, name: str
) -> None:
    rng, words = random.Random(5), ctypes.c_uint32 * 8
    exact = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}[name]
    ends = (0, 1, 37, 38, 0xFFFF, 0x10000, 0xFFFF0000, 0xFFFFFFFF, 0xFFFFFFDA)
    for _ in range(3000):
        a, b = (
            [rng.choice((rng.getrandbits(32), *ends)), *([rng.choice((0, 0xFFFFFFFF))] * 7)]
            if rng.random() < 0.5
            else [rng.choice((rng.getrandbits(32), *ends)) for _ in range(8)]
            for _ in range(2)
        )
        found = words()
        getattr(any_library, f"ek_field_{name}")(found, words(*a), words(*b))
        assert (number(found) - exact(number(a), number(b))) % P == 0


@pytest.mark.slow
def test_verdict_equals_openssls_when_signatures_are_drawn_and_bits_flipped(
    update_library: ctypes.CDLL,
) -> None:
    rng = random.Random(1)
    for _ in range(600):
        key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        message = rng.randbytes(rng.randrange(300))
        public, signature = key.public_key().public_bytes_raw(), key.sign(message)
        assert verify(update_library, public, message, signature)
        for _ in range(3):
            spoiled = bytearray(public + signature + message)
            bit = rng.randrange(8 * len(spoiled))
            spoiled[bit // 8] ^= 1 << bit % 8
            case = bytes(spoiled[:32]), bytes(spoiled[96:]), bytes(spoiled[32:96])
            assert verify(update_library, *case) == openssl(*case)


@pytest.mark.slow
def test_verdict_is_the_strict_rules_when_points_are_odd(update_library: ctypes.CDLL) -> None:
    stricter = mixed = 0
    for key, message, signature in oddities():
        ours = verify(update_library, key, message, signature)
        assert ours == strict(key, message, signature)
        mixed += ours and decode(key) != subgroup(key)
        if openssl(key, message, signature) != ours:
            stricter += 1
            a, r = decode(key), decode(signature[:32])
            assert not ours
            assert a is None or small(a) or r is None or small(r)
    assert stricter > 5  # OpenSSL takes points of small order; we do not
    assert mixed > 0  # a key with a part of small order, where the equation holds to the bit


def test_signature_is_refused_when_s_is_not_the_smallest(update_library: ctypes.CDLL) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"once")
    s = int.from_bytes(signature[32:], "little")
    assert verify(update_library, public, b"once", signature)
    for more in range(1, 15):
        malleable = signature[:32] + (s + more * L).to_bytes(32, "little")
        assert not verify(update_library, public, b"once", malleable)

"""The tree of RFC 6962, against published vectors and its recursive definition."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.errors import TrustError
from edgekiln.runtime.merkle import (
    decode_leaves,
    encode_leaves,
    leaf_hash,
    leaf_hashes,
    merkle_root,
)

# The inputs and roots that the certificate-transparency projects test themselves with.
INPUTS = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def rfc_root(blocks: list[bytes]) -> bytes:
    """Section 2.1 of RFC 6962, word for word."""
    if not blocks:
        return hashlib.sha256(b"").digest()
    if len(blocks) == 1:
        return hashlib.sha256(b"\x00" + blocks[0]).digest()
    k = 1
    while k * 2 < len(blocks):
        k *= 2
    return hashlib.sha256(b"\x01" + rfc_root(blocks[:k]) + rfc_root(blocks[k:])).digest()


@pytest.mark.parametrize("count", range(1, 9))
def test_root_equals_the_published_vector(count: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(text)) for text in INPUTS[:count]]
    assert merkle_root(leaves).hex() == ROOTS[count - 1]


def test_root_is_the_hash_of_nothing_when_there_are_no_leaves() -> None:
    assert merkle_root(()) == hashlib.sha256(b"").digest()


@given(st.binary(max_size=300), st.integers(1, 17))
def test_root_equals_the_recursive_definition(data: bytes, block_bytes: int) -> None:
    blocks = [data[i : i + block_bytes] for i in range(0, len(data), block_bytes)]
    leaves = leaf_hashes(data, block_bytes)
    assert leaves == tuple(leaf_hash(block) for block in blocks)
    assert merkle_root(leaves) == rfc_root(blocks)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_decode_leaves_refuses_when_any_bit_changed(content: bytes, data: st.DataObject) -> None:
    leaves = leaf_hashes(content, 7)
    encoded = bytearray(encode_leaves(leaves))
    assert decode_leaves(bytes(encoded), merkle_root(leaves), len(leaves)) == leaves
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(TrustError, match="Merkle root"):
        decode_leaves(bytes(encoded), merkle_root(leaves), len(leaves))


def test_decode_leaves_refuses_when_inner_nodes_pose_as_leaves() -> None:
    leaves = leaf_hashes(b"abcd", 1)
    inner = [hashlib.sha256(b"\x01" + leaves[i] + leaves[i + 1]).digest() for i in (0, 2)]
    assert merkle_root(inner) == merkle_root(leaves)  # only the signed length tells them apart
    with pytest.raises(TrustError):
        decode_leaves(encode_leaves(inner), merkle_root(leaves), len(leaves))
    assert leaf_hash(leaves[0] + leaves[1]) not in inner


def test_decode_leaves_refuses_when_the_list_is_cut_short() -> None:
    leaves = leaf_hashes(b"abcdefg", 2)
    with pytest.raises(TrustError):
        decode_leaves(encode_leaves(leaves)[:-5], merkle_root(leaves), len(leaves))

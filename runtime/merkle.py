"""Merkle tree over the blocks of a file, so that each block is checked the moment it arrives.

The tree is that of RFC 6962, section 2.1: sha256 with a 0x00 prefix for leaves and 0x01 for inner
nodes, so that no block can pass for a node. The list of leaf hashes is a file beside the bundle
(32 bytes a block); the root is in the signed TUF target, so a forged list is found before its use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .errors import TrustError
from .protocol import BLOCK_BYTES

HASH_BYTES = 32


def leaf_hash(block: bytes) -> bytes:
    """Hash of one block."""
    return hashlib.sha256(b"\x00" + block).digest()


def leaf_hashes(data: bytes, block_bytes: int = BLOCK_BYTES) -> tuple[bytes, ...]:
    """Hash of every block of `block_bytes`; the last one may be shorter, no data has no leaves."""
    view = memoryview(data)
    return tuple(
        leaf_hash(bytes(view[start : start + block_bytes]))
        for start in range(0, len(data), block_bytes)
    )


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of the tree over `leaves`; of none it is the hash of nothing.

    Pairing from the left and carrying an odd last node upwards gives the same tree as the RFC's
    split at the largest power of two.
    """
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        pairs = range(0, len(level) - 1, 2)
        carried = level[-1:] if len(level) % 2 else []
        level = [_node(level[i], level[i + 1]) for i in pairs] + carried
    return level[0]


def encode_leaves(leaves: Sequence[bytes]) -> bytes:
    """The file of leaf hashes: 32 bytes each, in block order."""
    return b"".join(leaves)


def decode_leaves(data: bytes, root: bytes, count: int) -> tuple[bytes, ...]:
    """Read the file of leaf hashes and check it against the signed root.

    `count` is the number of blocks that the signed length gives: the root alone would also accept
    a level of inner nodes.

    Raises:
        TrustError: the list is not the one that `root` signs.
    """
    leaves = tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))
    if len(data) != count * HASH_BYTES or merkle_root(leaves) != root:
        raise TrustError("the list of block hashes does not fit the signed Merkle root")
    return leaves


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()

"""Hostile files from a seed: sound ones with damage, and ones that are built to deceive.

A mutant is `(kind, seed)`: the same pair gives the same bytes. Half of them are sound files with
bytes changed, moved, repeated or cut off; the other half keep their format and lie inside it: huge
dimensions, cyclic graphs, paths that leave an archive, compressed bombs, digests of other bytes.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .mutations_bundle import lie_in_bundle, sound_bundles
from .mutations_onnx import lie_in_onnx, sound_onnx
from .mutations_tflite import lie_in_tflite, sound_tflite

EXTREMES = (0, 1, -1, 2**31 - 1, -(2**31), 2**30, 0x7F7F7F7F)


@dataclass(frozen=True)
class Kind:
    """A file format: sound files to start from, and a way to lie inside the format."""

    suffix: str
    sound: Callable[[Path | None], Sequence[bytes]]
    lie: Callable[[bytes, random.Random], bytes]


KINDS: Mapping[str, Kind] = {
    "tflite": Kind(".tflite", sound_tflite, lie_in_tflite),
    "onnx": Kind(".onnx", sound_onnx, lie_in_onnx),
    "bundle": Kind(".ekb", sound_bundles, lie_in_bundle),
}


def mutant(kind: Kind, sound: Sequence[bytes], seed: int) -> bytes:
    """The hostile file of a seed."""
    rng = random.Random(f"{kind.suffix} {seed}")
    data = sound[seed % len(sound)]
    if seed % 2:
        return kind.lie(data, rng)
    return rng.choice(_DAMAGES)(data, rng)


def _flip(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 2, 8, 64))):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _extreme(data: bytes, rng: random.Random) -> bytes:
    """Words where formats keep offsets, counts and sizes, at one of the ends of their range."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 2, 6))):
        at = rng.randrange(0, max(1, len(damaged) - 4))
        struct.pack_into("<i", damaged, at - at % 4, rng.choice(EXTREMES))
    return bytes(damaged)


def _splice(data: bytes, rng: random.Random) -> bytes:
    """A piece of the file over another piece, or between others."""
    start, to = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[start : start + rng.choice((4, 32, 1024))]
    return data[:to] + piece + data[to + rng.choice((0, len(piece))) :]


def _blank(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    size = rng.choice((4, 64, 4096))
    return data[:start] + bytes([rng.choice((0, 255))]) * size + data[start + size :]


def _header(data: bytes, rng: random.Random) -> bytes:
    """Damage where most of the structure is: at the start or at the end."""
    damaged = bytearray(data)
    near = min(512, len(damaged))
    for _ in range(rng.choice((1, 4, 16))):
        at = rng.randrange(near)
        damaged[at if rng.random() < 0.5 else -1 - at] = rng.randrange(256)
    return bytes(damaged)


_DAMAGES = (_flip, _truncate, _extreme, _splice, _blank, _header)

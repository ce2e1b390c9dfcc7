"""Bundles that open as an archive and lie inside it: paths, bombs, digests, members."""

from __future__ import annotations

import hashlib
import io
import random
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgekiln.runtime.bundle import MANIFEST, pack_bundle
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.files import stored_zip
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.reference import build_reference

from .mutations_tflite import sound_tflite

Members = Mapping[str, bytes]
_TIME = (1980, 1, 1, 0, 0, 0)
_BOMB_BYTES = 64 << 20


def sound_bundles(models: Path | None) -> Sequence[bytes]:
    """One bundle with a float and an int8 model of our own."""
    rng = np.random.default_rng(0)
    contract = Contract(TensorSpec("image", (8, 8, 3)), ("a", "b", "c", "d"))
    x = rng.normal(size=(20, 8, 8, 3)).astype(np.float32)
    classes = np.arange(20) % 4
    shares = np.full(20, 0.5, np.float32)
    golden = Golden(x[:4], rng.integers(-9, 9, (4, 4)).astype(np.int8), 0.1, 0)
    members = {
        "contract.json": msgspec.json.encode(contract, order="sorted"),
        "golden.npz": pack_golden(golden),
        "reference.bin": build_reference(contract, x, shares, classes).to_bytes(),
        "certificate.json": b"{}",
        "card.md": b"# a model",
    }
    cost = EstimateRecord(1.0, 0.5, 2.0, "ms", "T1", "made-up")
    artifacts = []
    for target, model in zip(("host", "mcu"), sound_tflite(None), strict=False):
        path = f"artifacts/{target}/model.tflite"
        members[path] = model
        digest = hashlib.sha256(model).hexdigest()
        artifacts.append(
            Artifact(
                *(target, "tflite", path, len(model), digest, "int8.v1", 0.9, cost, cost, cost)
            )
        )
    gate = Gate(passed=True, checks=())
    draft = Manifest("m", (), tuple(artifacts), 0.9, 0.9, gate, Lineage("d" * 64), {}, {})
    return [pack_bundle(draft, members)]


def lie_in_bundle(data: bytes, rng: random.Random) -> bytes:
    """One lie; where it changes a member, its digest is made right in every other mutant."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return rng.choice(_LIES)(members, rng)


def _resealed(members: Members) -> bytes:
    """An archive whose manifest has the digests of what is in it."""
    kept = {name: data for name, data in members.items() if name != MANIFEST}
    try:
        manifest = msgspec.json.decode(members[MANIFEST])
        manifest["members"] = [
            {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(kept.items())
        ]
        for artifact in manifest["artifacts"]:
            model = kept.get(artifact["path"], b"")
            artifact["bytes"] = len(model)
            artifact["sha256"] = hashlib.sha256(model).hexdigest()
        kept[MANIFEST] = msgspec.json.encode(manifest, order="sorted")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, RecursionError):
        kept[MANIFEST] = members[MANIFEST]
    return stored_zip(kept)


def _archive(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Members as they are, in their order, under any names."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name given twice is meant
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, _TIME), data, compression)
    return buffer.getvalue()


def _path(members: Members, rng: random.Random) -> bytes:
    name = rng.choice(
        ("../evil", "/etc/passwd", "a/../../b", "C:\\x", "a\\b", "./a", "a//b", "ä", "a\nb", "")
    )
    return _archive({**members, name: b"x"})


def _extra(members: Members, rng: random.Random) -> bytes:
    return _archive({**members, f"extra-{rng.randrange(100)}": b"x"})


def _many(members: Members, rng: random.Random) -> bytes:
    return _archive({**members, **{f"m{index}": b"" for index in range(5000)}})


def _missing(members: Members, rng: random.Random) -> bytes:
    gone = rng.choice(sorted(members))
    return _archive({name: data for name, data in members.items() if name != gone})


def _wrong_digest(members: Members, rng: random.Random) -> bytes:
    name = rng.choice(sorted(members))
    data = bytearray(members[name])
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return stored_zip({**members, name: bytes(data)})


def _bomb(members: Members, rng: random.Random) -> bytes:
    """Megabytes of zeros, compressed, as a member or as the whole archive."""
    method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    name = rng.choice(("bomb", "golden.npz", MANIFEST))
    return _archive({**members, name: bytes(_BOMB_BYTES)}, method)


def _golden_bomb(members: Members, rng: random.Random) -> bytes:
    """Golden vectors whose archive is compressed, or whose header claims what is not there."""
    buffer = io.BytesIO()
    arrays = {"expected": np.zeros((1 << 20, 40), np.int8), "inputs": np.zeros(4, np.float32)}
    np.savez_compressed(buffer, scale=1.0, zero_point=0, **arrays)
    golden = buffer.getvalue()
    if rng.random() < 0.6:
        shape = rng.choice(("(1099511627776, 4)", "(4294967296,)", "(-1, 4)", "(" * 50, "()"))
        golden = _archive({f"{name}.npy": _npy(shape) for name in (*arrays, "scale", "zero_point")})
    return _resealed({**members, "golden.npz": golden})


def _npy(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    padded = header.ljust(-(-(len(header) + 11) // 64) * 64 - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded


def _inner(members: Members, rng: random.Random) -> bytes:
    """A member with bytes changed, under a right digest."""
    name = rng.choice(("contract.json", "golden.npz", "reference.bin", "certificate.json"))
    data = bytearray(members[name])
    for _ in range(rng.choice((1, 4, 40))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    cut = rng.choice((len(data), rng.randrange(len(data))))
    return _resealed({**members, name: bytes(data[:cut])})


def _model(members: Members, rng: random.Random) -> bytes:
    """A damaged model under a right digest."""
    name = "artifacts/host/model.tflite"
    data = bytearray(members[name])
    for _ in range(rng.choice((1, 8, 64))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return _resealed({**members, name: bytes(data)})


def _contract(members: Members, rng: random.Random) -> bytes:
    shape = rng.choice(((2**62, 2**62), (-1, 3), (0,), tuple([2] * 3000), (2**31,)))
    text = msgspec.json.encode(
        {"input": {"name": "x", "shape": shape}, "classes": ["a"] * rng.choice((0, 2, 90_000))}
    )
    return _resealed({**members, "contract.json": text})


def _deep_json(members: Members, rng: random.Random) -> bytes:
    depth = rng.choice((2000, 200_000))
    text = b"[" * depth + b"]" * depth
    return _resealed({**members, rng.choice((MANIFEST, "contract.json")): text})


def _manifest(members: Members, rng: random.Random) -> bytes:
    """A key of the manifest with another value or gone."""
    manifest = msgspec.json.decode(members[MANIFEST])
    key = rng.choice(sorted(manifest))
    value = rng.choice((None, 2**80, -1, "x" * 5000, [], {}, [None], 1e300, "../..", True))
    if rng.random() < 0.3:
        del manifest[key]
    else:
        manifest[key] = value
    return _archive({**members, MANIFEST: msgspec.json.encode(manifest, order="sorted")})


def _artifact(members: Members, rng: random.Random) -> bytes:
    manifest = msgspec.json.decode(members[MANIFEST])
    artifact = rng.choice(manifest["artifacts"])
    key = rng.choice(sorted(artifact))
    artifact[key] = rng.choice((None, "../../x", "", 2**70, -1, {}, "artifacts", "card.md"))
    return stored_zip({**members, MANIFEST: msgspec.json.encode(manifest, order="sorted")})


def _beside(members: Members, rng: random.Random) -> bytes:
    """Bytes before or after an archive that is sound."""
    whole, junk = stored_zip(dict(members)), rng.randbytes(rng.choice((1, 22, 5000)))
    return whole + junk if rng.random() < 0.5 else junk + whole


def _overlap(members: Members, rng: random.Random) -> bytes:
    """Directory entries that all point to one member, as in an archive bomb."""
    big = rng.randbytes(1000) * 100
    data = bytearray(_archive({**members, **{f"z{index:03}": big for index in range(40)}}))
    first = data.find(b"PK\x01\x02")
    at, target = first, None
    while at >= 0:
        if data[at + 46 : at + 50] == b"z000":
            target = data[at + 42 : at + 46]
        elif target is not None and data[at + 46 : at + 47] == b"z":
            data[at + 42 : at + 46] = target
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(data)


_LIES: tuple[Callable[[Members, random.Random], bytes], ...] = (
    *(_path, _extra, _many, _missing, _wrong_digest, _bomb, _golden_bomb, _inner, _inner),
    *(_model, _contract, _deep_json, _manifest, _manifest, _artifact, _beside, _overlap),
)

"""Bundles: what a reader accepts is exactly what a writer writes."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.runtime.bundle import Bundle, Limits, open_bundle, pack_bundle, parse_bundle
from edgekiln.runtime.bundle import write_bundle as write
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.errors import (
    BundleError,
    DigestError,
    MemberError,
    NotABundleError,
    SchemaVersionError,
    SizeLimitError,
)
from edgekiln.runtime.files import stored_zip
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest, Member
from edgekiln.runtime.model import Model
from edgekiln.runtime.monitor import Monitor
from edgekiln.runtime.reference import build_reference

CONTRACT = Contract(TensorSpec("sensor", (3,)), ("calm", "storm"))


def _members() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(20, 3)).astype(np.float32)
    reference = build_reference(CONTRACT, raw, rng.random(20).astype("f4"), np.arange(20) % 2)
    golden = Golden(raw[:2], np.zeros((2, 2), np.int8), 0.1, 0)
    return {
        "artifacts/host/model.tflite": b"weights",
        "artifacts/board/c/model.c": b"int x;",
        "contract.json": msgspec.json.encode(CONTRACT),
        "golden.npz": pack_golden(golden),
        "reference.bin": reference.to_bytes(),
    }


MEMBERS = _members()


def _artifact(target: str, form: str, path: str, numerics: str = "int8.v1") -> Artifact:
    data = MEMBERS.get(path, b"")
    estimate = EstimateRecord(1.0, 1.0, 1.0, "ms", "T3", "test")
    digest = hashlib.sha256(data).hexdigest()
    return Artifact(
        target, form, path, len(data), digest, numerics, 0.9, estimate, estimate, estimate
    )


def _draft(*artifacts: Artifact) -> Manifest:
    return Manifest("m", (), artifacts, 0.9, 0.9, Gate(True, ()), Lineage("0"), {}, {})


HOST = _artifact("host", "tflite", "artifacts/host/model.tflite")
PACKED = pack_bundle(_draft(HOST, _artifact("board", "c", "artifacts/board/c")), MEMBERS)


def _raw(members: dict[str, bytes]) -> dict[str, bytes]:
    """The bundle's members with `members` changed, the manifest as it was."""
    with zipfile.ZipFile(io.BytesIO(PACKED)) as archive:
        return {name: archive.read(name) for name in archive.namelist()} | members


def test_write_bundle_can_be_opened_and_gives_back_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "m.ekb"
    written = write(path, _draft(HOST), MEMBERS)
    opened = open_bundle(path)
    assert opened.bundle_id == written.bundle_id == opened.manifest.bundle_id
    assert {name: opened.read(name) for name in MEMBERS} == MEMBERS
    assert opened.contract == CONTRACT
    assert opened.golden().inputs.shape == (2, 3)
    assert opened.reference().samples == 20
    assert [member.path for member in opened.manifest.members] == sorted(MEMBERS)


def test_pack_bundle_gives_the_same_bytes_when_members_come_in_another_order() -> None:
    reversed_members = dict(reversed(MEMBERS.items()))
    assert pack_bundle(_draft(HOST), MEMBERS) == pack_bundle(_draft(HOST), reversed_members)


def test_pack_bundle_accepts_whole_numbers_when_the_schema_says_float() -> None:
    draft = msgspec.structs.replace(_draft(HOST), accuracy_float=1)
    assert parse_bundle(pack_bundle(draft, MEMBERS), "m").manifest.accuracy_float == 1.0


def test_write_bundle_writes_nothing_when_a_reader_would_refuse(tmp_path: Path) -> None:
    with pytest.raises(MemberError, match="is no member"):
        write(tmp_path / "m.ekb", _draft(_artifact("host", "tflite", "nowhere")), MEMBERS)
    with pytest.raises(MemberError, match="written by the bundle itself"):
        pack_bundle(_draft(), {**MEMBERS, "manifest.json": b"{}"})
    assert list(tmp_path.iterdir()) == []


def _resealed(change: Callable[[dict[str, object]], None]) -> bytes:
    """A bundle whose manifest was changed as plain JSON and written canonically again."""
    manifest = msgspec.json.decode(_raw({})["manifest.json"])
    change(manifest)
    return stored_zip(_raw({"manifest.json": msgspec.json.encode(manifest, order="sorted")}))


def _twice() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        for name, data in [*_raw({}).items(), ("card.md", b"one"), ("card.md", b"two")]:
            archive.writestr(name, data)
    return buffer.getvalue()


def _compressed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _raw({}).items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _spaced_manifest() -> bytes:
    manifest = _raw({})["manifest.json"]
    return stored_zip(_raw({"manifest.json": manifest.replace(b",", b", ", 1)}))


ATTACKS: dict[str, tuple[bytes, type[BundleError], str]] = {
    "empty": (b"", NotABundleError, "not a bundle"),
    "text": (b"hello " * 100, NotABundleError, "not a bundle"),
    "no manifest": (stored_zip(MEMBERS), NotABundleError, "manifest.json"),
    "manifest is no JSON": (stored_zip(_raw({"manifest.json": b"{"})), NotABundleError, "read"),
    "unknown field": (_resealed(lambda m: m.update(x=1)), NotABundleError, "schema"),
    "next schema": (_resealed(lambda m: m.update(schema=2)), SchemaVersionError, "schema 2"),
    "other spelling": (_spaced_manifest(), NotABundleError, "canonical"),
    "extra": (stored_zip(_raw({"virus.sh": b"x"})), MemberError, "'virus.sh' is not in"),
    "dots": (stored_zip(_raw({"../x": b"x"})), MemberError, r"'\.\./x' has a path that is not pl"),
    "inner dots": (stored_zip(_raw({"a/../x": b"x"})), MemberError, "not plain"),
    "absolute": (stored_zip(_raw({"/etc/passwd": b"x"})), MemberError, "absolute"),
    "backslash": (stored_zip(_raw({"a\\..\\x": b"x"})), MemberError, "backslash"),
    "drive": (stored_zip(_raw({"C:x": b"x"})), MemberError, "colon"),
    "folder": (stored_zip(_raw({"a/": b""})), MemberError, "not plain"),
    "look-alike": (stored_zip(_raw({"mаnifest.json": b"x"})), MemberError, "printable ASCII"),
    "newline": (stored_zip(_raw({"a\nb": b"x"})), MemberError, "printable ASCII"),
    "twice": (_twice(), MemberError, "'card.md' is there twice"),
    "compressed": (_compressed(), MemberError, "is compressed"),
    "changed": (stored_zip(_raw({"golden.npz": b"x"})), DigestError, "'golden.npz' differs"),
    "prefix": (b"#!/bin/sh\n" + PACKED, NotABundleError, "beside its members"),
    "suffix": (PACKED + b"x", NotABundleError, "beside its members"),
    "two bundles": (PACKED + PACKED, NotABundleError, "beside its members"),
    "listed twice": (
        _resealed(lambda m: m.update(members=[*m["members"], m["members"][0]])),  # type: ignore
        MemberError,
        "lists a member twice",
    ),
    "lists itself": (
        _resealed(
            lambda m: m["members"].append(  # type: ignore
                msgspec.to_builtins(Member("manifest.json", 0, ""))
            )
        ),
        MemberError,
        "lists itself",
    ),
    "artifact digest": (
        _resealed(lambda m: m["artifacts"][0].update(sha256="0" * 64)),  # type: ignore
        DigestError,
        "artifact 'artifacts/host/model.tflite'",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_parse_bundle_names_the_fault_when_a_file_is_wrong(name: str) -> None:
    data, kind, says = ATTACKS[name]
    with pytest.raises(kind, match=says) as caught:
        parse_bundle(data, "evil.ekb")
    assert type(caught.value) is kind
    assert str(caught.value).startswith("evil.ekb: ")
    assert "\n" not in str(caught.value)


def test_parse_bundle_names_the_member_when_one_is_missing() -> None:
    members = _raw({})
    del members["golden.npz"]
    with pytest.raises(MemberError, match=r"m\.ekb: member 'golden\.npz' is missing"):
        parse_bundle(stored_zip(members), "m.ekb")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(file_bytes=100), "larger than the limit of 100"),
        (Limits(member_bytes=50), "has [0-9]+ bytes, the limit is 50"),
        (Limits(members=3), "6 members, the limit is 3"),
    ],
)
def test_open_bundle_refuses_when_something_is_over_a_limit(
    tmp_path: Path, limits: Limits, says: str
) -> None:
    path = tmp_path / "m.ekb"
    path.write_bytes(PACKED)
    with pytest.raises(SizeLimitError, match=says):
        open_bundle(path, limits)


def test_parse_bundle_refuses_when_members_declare_more_than_the_file_has() -> None:
    """A directory may point many names at the same bytes: the overlapping zip bomb."""
    with zipfile.ZipFile(io.BytesIO(PACKED)) as archive:
        first = archive.infolist()[0]
        start = archive.start_dir
    data = bytearray(PACKED)
    # The sizes in the first directory entry, compressed and not, at offsets 20 and 24.
    data[start + 20 : start + 28] = struct.pack("<II", len(PACKED), len(PACKED))
    assert first.file_size < len(PACKED)
    with pytest.raises(SizeLimitError, match="declare more bytes than the file has"):
        parse_bundle(bytes(data), "bomb.ekb")


def test_open_bundle_says_one_line_when_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotABundleError, match=r"/gone\.ekb: cannot be read: No such file"):
        open_bundle(tmp_path / "gone.ekb")


def _same(bundle: Bundle) -> bool:
    return bundle.bundle_id == parse_bundle(PACKED, "m").bundle_id


@pytest.mark.parametrize("mask", [0x01, pytest.param(0x80, marks=pytest.mark.slow)])
def test_parse_bundle_refuses_when_any_single_byte_is_flipped(mask: int) -> None:
    """Every byte of the directory and headers, and of the data, once."""
    original = bytearray(PACKED)
    for place in range(len(original)):
        original[place] ^= mask
        with pytest.raises(BundleError):
            parse_bundle(bytes(original), "m.ekb")
        original[place] ^= mask


@settings(max_examples=3 * settings().max_examples)
@given(st.data())
def test_parse_bundle_refuses_or_gives_the_same_when_bytes_are_mangled(data: st.DataObject) -> None:
    """Cuts, overwrites, insertions and repeats of any stretch."""
    size = len(PACKED)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, min(size, start + 64)))
    patch = data.draw(st.one_of(st.binary(max_size=64), st.just(PACKED[start:stop] * 2)))
    mangled = PACKED[:start] + patch + PACKED[stop:]
    try:
        bundle = parse_bundle(mangled, "m.ekb")
    except BundleError:
        return
    assert mangled == PACKED
    assert _same(bundle)


@given(st.integers(0, len(PACKED) - 1))
def test_parse_bundle_refuses_when_the_file_is_cut(size: int) -> None:
    with pytest.raises(BundleError):
        parse_bundle(PACKED[:size], "m.ekb")


def test_read_names_bundle_and_member_when_it_is_not_there() -> None:
    with pytest.raises(MemberError, match=r"m\.ekb: there is no member 'x'"):
        parse_bundle(PACKED, "m.ekb").read("x")


def test_artifact_prefers_int8_tflite_and_names_the_targets_when_none_fits() -> None:
    path = "artifacts/host/model.tflite"
    draft = _draft(
        _artifact("host", "tflite", path, "float32"),
        _artifact("host", "onnx", path),
        _artifact("host", "tflite", path),
        _artifact("board", "c", "artifacts/board/c"),
    )
    bundle = parse_bundle(pack_bundle(draft, MEMBERS), "m.ekb")
    chosen = bundle.artifact("host")
    assert (chosen.format, chosen.numerics) == ("tflite", "int8.v1")
    assert bundle.artifact("board").format == "c"
    with pytest.raises(MemberError, match=r"nothing for target 'npu'; it has: board, host"):
        bundle.artifact("npu")


@pytest.mark.parametrize("junk", [b"\xc1", b'{"input": "\xe7"}', b"\x81\xa1\xe7\x00"])
@pytest.mark.parametrize("member", ["contract.json", "reference.bin", "golden.npz"])
def test_parts_name_bundle_and_member_when_they_cannot_be_decoded(member: str, junk: bytes) -> None:
    data = pack_bundle(_draft(HOST), MEMBERS | {member: junk})
    bundle = parse_bundle(data, "m.ekb")
    with pytest.raises(MemberError, match=f"m.ekb: {member}"):
        _ = {
            "contract.json": lambda: bundle.contract,
            "reference.bin": bundle.reference,
            "golden.npz": bundle.golden,
        }[member]()


def test_bundle_of_an_earlier_writer_opens_when_a_field_was_added_since() -> None:
    def without(manifest: dict[str, Any]) -> None:
        for artifact in manifest["artifacts"]:
            del artifact["golden_max_lsb"]

    data = _resealed(without)
    opened = parse_bundle(data, "earlier.ekb")
    assert {artifact.golden_max_lsb for artifact in opened.manifest.artifacts} == {1}
    assert opened.bundle_id == hashlib.sha256(opened.members["manifest.json"]).hexdigest()


def test_first_bundle_that_this_schema_wrote_opens_for_ever() -> None:
    """A device keeps its models when its runtime is replaced."""
    model = Model.open(Path(__file__).parent / "vectors" / "schema-1.ekb")
    assert model.bundle_id == "7f2801510ff79cff31fbfd6cb636ead2154d2a2d1d95bbc4cedde9a526849c2a"
    assert model.run_golden().max_lsb == 0
    assert len(Monitor(model, np.random.default_rng(0), 0.0).drift.names) == 11

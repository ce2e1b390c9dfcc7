"""What a delta takes from where: between bundles with and without a map of their tensors."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edgekiln.runtime.bundle import pack_bundle, parse_bundle
from edgekiln.runtime.delta import apply_delta
from edgekiln.runtime.delta_codec import Method
from edgekiln.runtime.delta_plan import SpannedFile, make_delta, make_file_delta, plan_delta
from edgekiln.runtime.errors import BundleError, MemberError
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.tensor_map import TENSORS, Spans, TensorSpan, pack_tensors, tensors_of

SHAPE = (24, 9, 16)
HEAD = b"a file's head "
NUMBER = EstimateRecord(1.0, 1.0, 1.0, "bytes", "T2", "test")


def weights(seed: int, moved: float = 0.0) -> npt.NDArray[np.int8]:
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(0).integers(-60, 60, SHAPE)
    return (base + np.rint(rng.normal(0, moved, SHAPE))).astype(np.int8)


def biases(seed: int) -> npt.NDArray[np.int32]:
    shift = np.random.default_rng(seed).integers(-200, 200, 24) if seed else 0
    return (np.random.default_rng(9).integers(-(10**6), 10**6, 24) + shift).astype(np.int32)


def files(seed: int, moved: float, note: str) -> tuple[dict[str, bytes], Spans]:
    """Two formats of one model: plainly, and with two axes of its weights exchanged."""
    plain, bias = weights(seed, moved), biases(seed)
    turned = plain.transpose(0, 2, 1).tobytes()
    count = len(turned)
    members = {
        "artifacts/t/model.onnx": b"onnx: " + turned + bias.tobytes() + b" end",
        "artifacts/t/model.tflite": HEAD + plain.tobytes() + b"between" + bias.tobytes(),
        "card.md": f"# A model\n\naccuracy {note}, which is a number\n".encode() * 8,
    }
    spans = {
        "artifacts/t/model.onnx": (
            TensorSpan("w", 6, count, 1, (24, 9, 16)),
            TensorSpan("b", 6 + count, 96, 4),
        ),
        "artifacts/t/model.tflite": (
            TensorSpan("w", len(HEAD), count, 1),
            TensorSpan("b", len(HEAD) + count + 7, 96, 4),
        ),
    }
    return members, spans


def bundled(members: Mapping[str, bytes], spans: Spans | None) -> bytes:
    listed = tuple(
        Artifact("t", path.rsplit(".", 1)[1], path, len(data), "", "int8.v1", 0.9, None, NUMBER,
                 NUMBER)
        for path, data in members.items()
        if path.startswith("artifacts")
    )  # fmt: skip
    listed = tuple(
        msgspec.structs.replace(a, sha256=hashlib.sha256(members[a.path]).hexdigest())
        for a in listed
    )
    draft = Manifest(
        name="model", members=(), artifacts=listed, accuracy_float=0.9, accuracy_int8=0.9,
        gate=Gate(passed=True, checks=()), lineage=Lineage(data_sha256="d" * 64), inputs={},
        tools={},
    )  # fmt: skip
    mapped = {} if spans is None else {TENSORS: pack_tensors(spans)}
    return pack_bundle(draft, {**members, **mapped})


def applied(base: bytes, delta: bytes, size: int) -> bytes:
    out = io.BytesIO()
    apply_delta(io.BytesIO(base), io.BytesIO(delta).read, out, (len(base), size))
    return out.getvalue()


BASE = bundled(*files(0, 0.0, "0.912"))


@pytest.mark.parametrize("moved", [0.0, 0.4, 3.0])
def test_delta_between_bundles_is_exact_and_the_second_format_nearly_free(moved: float) -> None:
    members, spans = files(1, moved, "0.92345")
    new = bundled(members, spans)
    delta = make_delta(BASE, new)
    assert applied(BASE, delta, len(new)) == new
    alone = {name: members[name] for name in members if not name.endswith("tflite")}
    single = bundled(alone, {name: spans[name] for name in spans if name in alone})
    one = len(make_delta(BASE, single))
    assert len(delta) < one + 150
    methods = [segment.method for segment in plan_delta(BASE, new)]
    assert methods.count(Method.TURNED) == (0 if moved == 0.0 else 1) + 1


def test_bundle_without_a_map_is_still_exact_and_larger() -> None:
    members, spans = files(1, 1.0, "0.9")
    mapped, bare = bundled(members, spans), bundled(members, None)
    plain_base = bundled(files(0, 0.0, "0.912")[0], None)
    delta = make_delta(plain_base, bare)
    assert applied(plain_base, delta, len(bare)) == bare
    assert len(make_delta(BASE, mapped)) < 0.6 * len(delta)


def test_any_two_bundles_have_a_delta_when_nothing_is_alike() -> None:
    other = bundled({"artifacts/x/model.tflite": b"something else " * 40, "z": b"z"}, {})
    for base, new in ((BASE, other), (other, BASE)):
        assert applied(base, make_delta(base, new), len(new)) == new


def test_tensors_of_other_sizes_are_written_anew() -> None:
    members, spans = files(0, 0.0, "0.912")
    name = "artifacts/t/model.tflite"
    longer = {**members, name: members[name] + b"x" * 40}
    moved = (*spans[name][:1], TensorSpan("b", spans[name][1].offset, 96 + 40, 4))
    new = bundled(longer, {**spans, name: moved})
    assert applied(BASE, make_delta(BASE, new), len(new)) == new


def test_files_alone_have_a_delta_by_their_tensors() -> None:
    before, spans = files(0, 0.0, "1")
    after, _ = files(1, 1.0, "1")
    name = "artifacts/t/model.tflite"
    base, new = (SpannedFile(members[name], spans[name]) for members in (before, after))
    delta = make_file_delta(base, new)
    assert applied(base.data, delta, len(new.data)) == new.data
    assert len(delta) < 0.35 * len(new.data)


def test_what_is_no_bundle_has_no_delta() -> None:
    with pytest.raises(BundleError):
        make_delta(BASE, b"PK nothing")


@pytest.mark.parametrize(
    "spans",
    [
        b"{",
        b'{"artifacts/t/model.tflite": [["w", 0, 10, 3]]}',
        b'{"artifacts/t/model.tflite": [["w", 8, 10, 1], ["v", 12, 10, 1]]}',
        b'{"artifacts/t/model.tflite": [["w", 0, 100000000, 1]]}',
        b'{"artifacts/t/model.tflite": [["w", -4, 8, 1]]}',
        b'{"nowhere": [["w", 0, 8, 1]]}',
    ],
)
def test_map_is_refused_when_it_cannot_be_of_this_bundle(spans: bytes) -> None:
    members, _ = files(0, 0.0, "1")
    data = bundled({**members, TENSORS: spans}, None)
    with pytest.raises(MemberError):
        tensors_of(parse_bundle(data, "test"))

"""`tensors.json`: where the artifacts of a bundle keep their tensors, written by the compiler.

A delta between two bundles works on tensors, and neither the fleet nor a device reads TFLite, ONNX
or shared objects. A bundle without the map gets larger deltas, byte by byte.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .bundle import Bundle
from .errors import MemberError

TENSORS = "tensors.json"
WIDTHS = (1, 2, 4)

Turn = tuple[int, int, int]


class TensorSpan(msgspec.Struct, frozen=True, array_like=True):
    """`bytes` of the tensor `name` from `offset` of a member, in elements of `width` bytes.

    `turn` (outer, rows, columns) is the model's own order, where the member has rows and columns
    exchanged; outer 0 where it has not.
    """

    name: str
    offset: int
    bytes: int
    width: int
    turn: Turn = (0, 0, 0)


Spans = Mapping[str, tuple[TensorSpan, ...]]


def pack_tensors(spans: Spans) -> bytes:
    """The member's bytes."""
    return msgspec.json.encode(spans, order="sorted")


def tensors_of(bundle: Bundle) -> Spans:
    """Spans by member, in the order of their offsets; none where the bundle has no map.

    Raises:
        MemberError: the map breaks its schema, or its spans leave their members or overlap.
    """
    if TENSORS not in bundle.members:
        return {}
    try:
        found = msgspec.json.decode(bundle.read(TENSORS), type=dict[str, tuple[TensorSpan, ...]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MemberError(f"{bundle.source}: {TENSORS} breaks its schema: {error}") from error
    for member, spans in found.items():
        end = 0
        for span in spans:
            if span.width not in WIDTHS or span.offset < end or span.bytes < span.width:
                raise MemberError(f"{bundle.source}: {TENSORS} has an unsound span of '{member}'")
            end = span.offset + span.bytes
        if end > len(bundle.read(member)):
            raise MemberError(f"{bundle.source}: {TENSORS} leaves '{member}'")
    return found

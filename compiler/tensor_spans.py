"""Where artifacts keep a graph's constants, found by their bytes: the bundle's `tensors.json`.

Searching serves every format that stores tensors plainly, shared objects among them, and cannot
name a place that does not hold the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from edgekiln.runtime.tensor_map import Spans, TensorSpan, Turn

from .graph import Array, Graph, Value

SMALLEST = 16  # bytes: shorter ones are found anywhere, and cost little as they are
_TEXTS = (".c", ".h", ".txt", ".md", ".json")
_PLAIN: Turn = (0, 0, 0)


def find_tensors(graph: Graph, members: Mapping[str, bytes]) -> Spans:
    """Spans of the constants of `graph`, and of their scales, in the members of its artifacts."""
    wanted = sorted(_arrays(graph), key=lambda item: -item[1].nbytes)
    return {
        member: spans
        for member, data in sorted(members.items())
        if not member.endswith(_TEXTS) and (spans := _spans(data, wanted))
    }


def _arrays(graph: Graph) -> Iterator[tuple[str, Array]]:
    for value in graph.values.values():
        if value.data is None or value.data.itemsize not in (1, 2, 4):
            continue
        if value.data.nbytes >= SMALLEST:
            yield value.name, value.data
        yield from _scales(value)


def _scales(value: Value) -> Iterator[tuple[str, Array]]:
    if value.quant is not None and 4 * len(value.quant.scale) >= SMALLEST:
        yield f"{value.name}.scale", np.asarray(value.quant.scale, np.float32)


def _spans(data: bytes, wanted: Iterable[tuple[str, Array]]) -> tuple[TensorSpan, ...]:
    """The first place of each array that no larger one has, in the order of their offsets."""
    found: list[TensorSpan] = []
    for name, array in wanted:
        for turn, payload in _payloads(array):
            offset = _free(data, payload, found)
            if offset >= 0:
                found.append(TensorSpan(name, offset, len(payload), array.itemsize, turn))
                break
    return tuple(sorted(found, key=lambda span: span.offset))


def _free(data: bytes, payload: bytes, found: Iterable[TensorSpan]) -> int:
    """Where `payload` lies in `data` outside of the spans; -1 where it does not."""
    offset = data.find(payload)
    while offset >= 0:
        end = offset + len(payload)
        if all(end <= span.offset or offset >= span.offset + span.bytes for span in found):
            return offset
        offset = data.find(payload, offset + 1)
    return -1


def _payloads(array: Array) -> Iterator[tuple[Turn, bytes]]:
    """The bytes in the graph's order of axes, then with two neighbouring axes exchanged."""
    yield _PLAIN, np.ascontiguousarray(array).tobytes()
    for turn in _turns(array.shape):
        yield turn, array.reshape(turn).transpose(0, 2, 1).tobytes()


def _turns(shape: tuple[int, ...]) -> Iterator[Turn]:
    """Channels first instead of last; of a matrix also within what a flattening has put there."""
    if len(shape) == 4:
        yield shape[0], shape[1] * shape[2], shape[3]
    if len(shape) == 2:
        outputs, inputs = shape
        yield 1, outputs, inputs
        for rows in range(2, inputs):
            if inputs % rows == 0:
                yield outputs, rows, inputs // rows

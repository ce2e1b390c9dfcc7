"""Captured samples as one `.npz`: to look at, to label, to train on."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgekiln.runtime.files import write_atomic
from edgekiln.runtime.protocol import Capture

from .captures import Captured


class CaptureRow(msgspec.Struct, frozen=True, kw_only=True):
    """One sample without its values, for tables and JSON."""

    device: str
    at_s: float
    reason: str
    bundle_id: str
    label: str
    confidence: float | None
    other_label: str
    detail: str
    dtype: str
    shape: tuple[int, ...]
    redacted_by: str


def capture_row(one: Captured) -> CaptureRow:
    """What is said of a sample."""
    told = one.capture
    return CaptureRow(
        device=one.device,
        at_s=told.at_s,
        reason=told.reason.value,
        bundle_id=told.bundle_id,
        label=told.label,
        confidence=told.confidence,
        other_label=told.other_label,
        detail=told.detail,
        dtype=told.dtype,
        shape=told.shape,
        redacted_by=told.redacted_by,
    )


def sample_of(capture: Capture) -> np.ndarray:
    """The sample's array, of its dtype and shape."""
    array = np.frombuffer(capture.sample, np.dtype(capture.dtype).newbyteorder("<"))
    return array.astype(capture.dtype).reshape(capture.shape)


def write_captures(path: Path, captured: Sequence[Captured]) -> int:
    """Write `x` (n, *shape) and, row by row, who sent it and what the model said.

    Samples of the commonest dtype and shape; the number of the others, which are left out.
    """
    kinds = Counter((one.capture.dtype, one.capture.shape) for one in captured)
    common = kinds.most_common(1)[0][0] if kinds else ("float32", (0,))
    kept = [one for one in captured if (one.capture.dtype, one.capture.shape) == common]
    samples = [sample_of(one.capture) for one in kept]
    told = [one.capture for one in kept]
    unknown = float("nan")
    buffer = io.BytesIO()
    np.savez(
        buffer,
        x=np.stack(samples) if samples else np.empty((0, *common[1]), common[0]),
        answer=np.array([one.label for one in told]),
        confidence=np.array(
            [unknown if one.confidence is None else one.confidence for one in told]
        ),
        reason=np.array([one.reason.value for one in told]),
        device=np.array([one.device for one in kept]),
        at_s=np.array([one.at_s for one in told]),
    )
    write_atomic(path, buffer.getvalue(), 0o600)
    return len(captured) - len(kept)

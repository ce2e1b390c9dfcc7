"""Along one axis a linear map whose rows have few entries: gathers, scaled and added."""

from __future__ import annotations

import numpy as np

from ...graph import Array
from ...ops import Op
from .elementwise import binary
from .frame import Frame
from .moves import gather
from .tensor import NoWordError, Operand

_MOST_TAPS = 32


def resample(frame: Frame, x: Operand, axis: int, matrix: Array) -> Operand:
    """Element i along `axis` becomes the sum over j of matrix[i, j] · element j."""
    taps = int((matrix != 0).sum(axis=1).max())
    if taps > _MOST_TAPS:
        raise NoWordError(f"a resize that mixes {taps} elements")
    along = [1] * len(x.shape)
    along[axis] = -1
    order = np.argsort(matrix == 0, axis=1, kind="stable")[:, : max(taps, 1)]
    total: Operand | None = None
    for indices in order.T:
        shares = np.take_along_axis(matrix, indices[:, None], axis=1)[:, 0]
        part = gather(frame, x, axis, indices)
        if (shares != 1.0).any():
            part = binary(frame, Op.MUL, part, shares.astype(np.float32).reshape(along))
        total = part if total is None else binary(frame, Op.ADD, total, part)
    assert total is not None
    return total

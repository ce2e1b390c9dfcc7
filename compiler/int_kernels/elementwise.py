"""Operators on integers that work element by element, of all families."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Array
from ..ops import Op
from .activations import ACTIVATIONS, ACTIVATIONS_INT16
from .binary import BINARY
from .roots import rsqrt_int8
from .tables import TABLES
from .tables_int16 import TABLES_INT16

ELEMENTWISE: dict[Op, Callable[..., Array]] = BINARY | ACTIVATIONS | TABLES | {Op.RSQRT: rsqrt_int8}
"""int8."""

ELEMENTWISE_INT16: dict[Op, Callable[..., Array]] = BINARY | ACTIVATIONS_INT16 | TABLES_INT16

"""One handler for each TensorFlow Lite operator that the graph has a word for, by family.

A handler reads an operator's options and operands and appends nodes. What it cannot say in the
graph's words it refuses with UnsupportedOpError; shapes are left to the grammar.
"""

from __future__ import annotations

from collections.abc import Mapping

from .blocks import BLOCKS
from .common import Handler
from .comparisons import COMPARISONS
from .composed import COMPOSED
from .elementwise import ELEMENTWISE
from .formats import FORMATS
from .moves import MOVES
from .products import PRODUCTS
from .recurrent import RECURRENT
from .reductions import REDUCTIONS
from .slices import SLICES
from .stream import STREAM
from .windows import WINDOWS

HANDLERS: Mapping[str, Handler] = (
    WINDOWS
    | PRODUCTS
    | ELEMENTWISE
    | COMPARISONS
    | COMPOSED
    | REDUCTIONS
    | MOVES
    | SLICES
    | BLOCKS
    | RECURRENT
    | STREAM
    | FORMATS
)

"""One handler for each ONNX operator that the graph has words for, by family.

A handler reads a node's operands and attributes and gives the operands that it makes: one, or a
list of one for each output. What it cannot say in the graph's words it refuses by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from .common import Call, Handler
from .elementwise import ELEMENTWISE
from .erf import fuse_erf
from .folding import fold
from .formats import FORMATS
from .moves import MOVES
from .norms import NORMS
from .products import PRODUCTS
from .recurrent import RECURRENT
from .reductions import REDUCTIONS
from .resize import RESIZE
from .windows import WINDOWS

__all__ = ["HANDLERS", "Call", "fold", "fuse_erf"]

HANDLERS: Mapping[str, Handler] = (
    WINDOWS | PRODUCTS | ELEMENTWISE | REDUCTIONS | NORMS | MOVES | RESIZE | RECURRENT | FORMATS
)

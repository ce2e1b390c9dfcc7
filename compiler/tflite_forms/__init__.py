"""How TensorFlow Lite writes each operator of the graph, by family."""

from __future__ import annotations

from collections.abc import Mapping

from ..ops import Op
from .common import Form
from .elementwise import ELEMENTWISE
from .formats import FORMATS
from .moves import MOVES
from .products import PRODUCTS
from .recurrent import RECURRENT
from .reductions import REDUCTIONS
from .windows import WINDOWS

FORMS: Mapping[Op, Form] = (
    WINDOWS | PRODUCTS | ELEMENTWISE | REDUCTIONS | RECURRENT | MOVES | FORMATS
)

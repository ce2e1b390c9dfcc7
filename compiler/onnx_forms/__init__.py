"""How ONNX writes each operator of the graph, by family.

A form appends nodes to the writer and defines the node's output. It chooses the layout that it
reads and gives: windows want channels first, what works element by element takes what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..graph import Node
from ..onnx_writer import Writer
from ..ops import Op
from .elementwise import ELEMENTWISE
from .formats import FORMATS
from .moves import MOVES
from .products import PRODUCTS
from .reductions import REDUCTIONS
from .windows import WINDOWS

FORMS: Mapping[Op, Callable[[Writer, Node], None]] = (
    WINDOWS | PRODUCTS | ELEMENTWISE | REDUCTIONS | MOVES | FORMATS
)

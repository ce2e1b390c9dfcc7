"""One handler for each ATen operator that the graph has words for; `HANDLERS` is the list."""

from __future__ import annotations

from collections.abc import Mapping

from .call import Handler
from .elementwise import ELEMENTWISE
from .moves import MOVES
from .norms import NORMS
from .products import PRODUCTS
from .recurrent import RECURRENT
from .reductions import REDUCTIONS
from .views import VIEWS
from .windows import WINDOWS

HANDLERS: Mapping[str, Handler] = (
    WINDOWS | PRODUCTS | ELEMENTWISE | REDUCTIONS | NORMS | RECURRENT | MOVES | VIEWS
)

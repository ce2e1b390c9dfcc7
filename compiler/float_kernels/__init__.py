"""What every operator means in float32: slow, obvious numpy, one file for each family.

A kernel takes the graph, the node and its operands; activations have any number of samples first,
constants have none. These are the oracle of the passes and the source of calibration ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..ops import Op
from .common import Float
from .elementwise import ELEMENTWISE
from .moves import MOVES
from .products import PRODUCTS
from .recurrent import RECURRENT
from .reductions import REDUCTIONS
from .windows import WINDOWS

FLOAT_KERNELS: Mapping[Op, Callable[..., Float]] = (
    WINDOWS | PRODUCTS | ELEMENTWISE | REDUCTIONS | RECURRENT | MOVES
)

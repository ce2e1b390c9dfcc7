"""What operators mean in integers, one file for each family.

`int8.v1` and `int16x8.v1` (int16 activations, int8 weights): byte for byte what LiteRT's reference
kernels compute (`OpResolverType.BUILTIN_REF`), vectorised over the samples. Matrix products run in
floating point where every sum fits its mantissa, so they are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..graph import Array
from ..ops import Op
from .elementwise import ELEMENTWISE, ELEMENTWISE_INT16
from .formats import FORMATS
from .moves import MOVES
from .products import PRODUCTS
from .recurrent import RECURRENT
from .reductions import REDUCTIONS, REDUCTIONS_INT16
from .windows import WINDOWS

INT8_KERNELS: Mapping[Op, Callable[..., Array]] = (
    WINDOWS | PRODUCTS | ELEMENTWISE | REDUCTIONS | RECURRENT | MOVES | FORMATS
)

INT16_KERNELS: Mapping[Op, Callable[..., Array]] = (
    WINDOWS | PRODUCTS | ELEMENTWISE_INT16 | REDUCTIONS_INT16 | MOVES | FORMATS
)

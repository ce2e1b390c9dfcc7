"""A front end over GraphBuilder that thinks in a framework's axes and writes an NHWC graph.

Importers of frameworks that hold images as (n, channels, height, width) call these functions with
the framework's shapes, axes and weights; how the graph holds each tensor is settled here, once.

    def write(plan: Plan) -> Imported:
        frame = Frame("net", [Source("x", (1, 3, 96, 96))], plan)
        frame.source = "features.0"           # where the next nodes come from
        x = conv(frame, frame.input("x"), weights, bias, Window((2, 2), ((1, 1), (1, 1)), (1, 1)))
        x = linear(frame, flatten(frame, x), matrix)
        return frame.finish([("logits", x)])

    imported = solve(write)                   # graph, inputs and outputs: how they lie in it

- `Operand` = `Tensor` (computed) or a numpy array (known). Views, moves, products and arithmetic of
  arrays alone are folded on the spot and give arrays; constants beside a tensor are permuted.
- Samples: a first axis of length 1, which is what a free batch axis is given as, is the graph's
  sample axis. One that is longer (all inputs alike) is taken for it until an operator touches it;
  then `solve` calls `write` again with a sample axis added in front of everything.
- Orders: views (`reshape`, `flatten`, `squeeze`, `unsqueeze`, `transpose`) move nothing. Windows
  want channels last, elementwise operators and reductions take any order, a linear layer permutes
  its columns. What then still lies wrong is transposed; an input never is: `solve` calls `write`
  again with the input in the order in which it is read first. Images arrive as NHWC.
- Errors: `NoWordError` where the graph cannot say it, GrammarError where operands do not fit; the
  importer adds where, and the ways out.

Functions (frame first): conv, conv_transpose, max_pool, average_pool, batch_norm, resize · linear,
matmul · unary, binary, prelu, leaky_relu, gelu · reduce, softmax, arg_max · concat, slice_axis,
split, gather, pad, pad_by_copies · reshape, flatten, squeeze, unsqueeze, transpose. `op` arguments
are the graph's words; global pools are `reduce(frame, Op.MEAN, x, (2, 3), keep_dims=True)`.
"""

from __future__ import annotations

from .elementwise import binary, gelu, leaky_relu, prelu, unary
from .frame import Frame
from .moves import concat, gather, pad, pad_by_copies, slice_axis, split
from .ports import Imported, Plan, Port, Source, solve
from .products import linear, matmul
from .reductions import arg_max, reduce, softmax
from .tensor import NoWordError, Operand, Tensor
from .views import flatten, reshape, squeeze, transpose, unsqueeze
from .windows import (
    Window,
    average_pool,
    batch_norm,
    conv,
    conv_transpose,
    max_pool,
    resize,
)

__all__ = [
    "Frame",
    "Imported",
    "NoWordError",
    "Operand",
    "Plan",
    "Port",
    "Source",
    "Tensor",
    "Window",
    "arg_max",
    "average_pool",
    "batch_norm",
    "binary",
    "concat",
    "conv",
    "conv_transpose",
    "flatten",
    "gather",
    "gelu",
    "leaky_relu",
    "linear",
    "matmul",
    "max_pool",
    "pad",
    "pad_by_copies",
    "prelu",
    "reduce",
    "reshape",
    "resize",
    "slice_axis",
    "softmax",
    "solve",
    "split",
    "squeeze",
    "transpose",
    "unary",
    "unsqueeze",
]

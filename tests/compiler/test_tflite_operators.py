"""Windows, products and moves: our kernels, the files we write and read, and LiteRT, all agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Array, DType, Graph
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import (
    Activation,
    Attrs,
    AxisAttrs,
    ConvAttrs,
    DenseAttrs,
    MatmulAttrs,
    Op,
    PadAttrs,
    PoolAttrs,
    ResizeAttrs,
    SliceAttrs,
    TransposeAttrs,
    TransposeConvAttrs,
)
from edgekiln.compiler.shapes import Shape

SAMPLES = 4
FORMATS = (DType.FLOAT32, DType.INT8, DType.INT16)
Case = tuple[Op, Attrs, tuple[Shape, ...]]

CASES: dict[str, Case] = {
    "conv": (Op.CONV_2D, ConvAttrs((2, 1), ((1, 0), (2, 1))), ((1, 7, 6, 3), (5, 3, 2, 3))),
    "conv_same": (
        Op.CONV_2D,
        ConvAttrs((2, 2), ((0, 1), (0, 1)), activation=Activation.RELU6),
        ((1, 8, 8, 4), (6, 3, 3, 4)),
    ),
    "conv_dilated": (
        Op.CONV_2D,
        ConvAttrs(dilation=(2, 3), activation=Activation.RELU),
        ((1, 9, 11, 2), (3, 3, 3, 2)),
    ),
    "conv_grouped": (Op.CONV_2D, ConvAttrs((1, 2)), ((1, 7, 9, 6), (9, 3, 3, 2))),
    "conv_grouped_padded": (
        Op.CONV_2D,
        ConvAttrs(padding=((1, 1), (1, 1))),
        ((1, 5, 5, 8), (4, 3, 3, 4)),
    ),
    "depthwise": (
        Op.DEPTHWISE_CONV_2D,
        ConvAttrs(padding=((1, 1), (1, 1)), activation=Activation.RELU),
        ((1, 7, 5, 5), (1, 3, 3, 5)),
    ),
    "depthwise_multiplier": (
        Op.DEPTHWISE_CONV_2D,
        ConvAttrs((2, 2), ((1, 1), (0, 1))),
        ((1, 7, 8, 3), (1, 3, 3, 9)),
    ),
    "depthwise_of_one": (Op.DEPTHWISE_CONV_2D, ConvAttrs(), ((1, 6, 6, 1), (1, 3, 2, 4))),
    "depthwise_dilated": (
        Op.DEPTHWISE_CONV_2D,
        ConvAttrs(dilation=(2, 2)),
        ((1, 9, 8, 4), (1, 3, 3, 8)),
    ),
    "transpose_conv": (Op.TRANSPOSE_CONV, TransposeConvAttrs((2, 3)), ((1, 4, 3, 5), (4, 3, 2, 5))),
    "transpose_conv_same": (
        Op.TRANSPOSE_CONV,
        TransposeConvAttrs((2, 2), ((1, 1), (1, 1)), Activation.RELU),
        ((1, 4, 5, 3), (2, 4, 4, 3)),
    ),
    "transpose_conv_cut": (
        Op.TRANSPOSE_CONV,
        TransposeConvAttrs((2, 2), ((1, 0), (1, 0))),
        ((1, 4, 5, 3), (2, 3, 3, 3)),
    ),
    "transpose_conv_uneven": (
        Op.TRANSPOSE_CONV,
        TransposeConvAttrs((3, 1), ((0, 1), (2, 0))),
        ((1, 3, 5, 2), (3, 2, 4, 2)),
    ),
    "max_pool": (Op.MAX_POOL_2D, PoolAttrs((3, 2), (2, 2)), ((1, 8, 7, 3),)),
    "max_pool_same": (
        Op.MAX_POOL_2D,
        PoolAttrs((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((1, 6, 5, 2),),
    ),
    "max_pool_torch": (
        Op.MAX_POOL_2D,
        PoolAttrs((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((1, 8, 8, 3),),
    ),
    "average_pool": (Op.AVERAGE_POOL_2D, PoolAttrs((2, 3), (2, 1)), ((1, 7, 7, 3),)),
    "average_pool_same": (
        Op.AVERAGE_POOL_2D,
        PoolAttrs((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((1, 7, 9, 2),),
    ),
    "average_pool_torch": (
        Op.AVERAGE_POOL_2D,
        PoolAttrs((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((1, 8, 6, 3),),
    ),
    "average_pool_uneven": (
        Op.AVERAGE_POOL_2D,
        PoolAttrs((4, 3), (1, 3), ((3, 0), (0, 2))),
        ((1, 6, 8, 2),),
    ),
    "nearest_up": (Op.RESIZE_NEAREST_NEIGHBOR, ResizeAttrs((7, 10)), ((1, 3, 5, 2),)),
    "nearest_corners": (
        Op.RESIZE_NEAREST_NEIGHBOR,
        ResizeAttrs((7, 4), align_corners=True),
        ((1, 4, 6, 3),),
    ),
    "nearest_half": (
        Op.RESIZE_NEAREST_NEIGHBOR,
        ResizeAttrs((5, 13), half_pixel_centers=True),
        ((1, 7, 6, 1),),
    ),
    "bilinear": (Op.RESIZE_BILINEAR, ResizeAttrs((9, 5)), ((1, 4, 7, 3),)),
    "bilinear_corners": (
        Op.RESIZE_BILINEAR,
        ResizeAttrs((7, 4), align_corners=True),
        ((1, 4, 6, 3),),
    ),
    "bilinear_half": (
        Op.RESIZE_BILINEAR,
        ResizeAttrs((6, 11), half_pixel_centers=True),
        ((1, 3, 5, 2),),
    ),
    "dense": (Op.FULLY_CONNECTED, DenseAttrs(Activation.RELU), ((1, 17), (7, 17))),
    "dense_of_rank_3": (Op.FULLY_CONNECTED, DenseAttrs(), ((1, 5, 12), (6, 12))),
    "dense_of_rank_4": (Op.FULLY_CONNECTED, DenseAttrs(Activation.RELU6), ((1, 2, 3, 9), (4, 9))),
    "matmul": (Op.BATCH_MATMUL, MatmulAttrs(), ((1, 5, 7), (1, 7, 4))),
    "matmul_transposed": (
        Op.BATCH_MATMUL,
        MatmulAttrs(transpose_b=True),
        ((1, 3, 5, 7), (1, 3, 4, 7)),
    ),
    "transpose": (Op.TRANSPOSE, TransposeAttrs((0, 3, 1, 2)), ((1, 3, 4, 5),)),
    "transpose_of_rank_5": (Op.TRANSPOSE, TransposeAttrs((0, 2, 4, 1, 3)), ((1, 2, 3, 4, 5),)),
    "concatenation": (Op.CONCATENATION, AxisAttrs(3), ((1, 3, 4, 2), (1, 3, 4, 1), (1, 3, 4, 5))),
    "slice": (Op.SLICE, SliceAttrs((0, 1, 2), (1, 3, 4), (1, 1, 1)), ((1, 5, 7),)),
    "slice_by_steps": (
        Op.SLICE,
        SliceAttrs((0, 1, 6, 0), (1, 2, 4, 3), (1, 2, -2, 1)),
        ((1, 5, 7, 3),),
    ),
    "slice_reversed": (Op.SLICE, SliceAttrs((0, 4), (1, 5), (1, -1)), ((1, 5),)),
    "pad": (Op.PAD, PadAttrs(((0, 0), (1, 2), (0, 3))), ((1, 3, 4),)),
    "pad_channels": (
        Op.PAD,
        PadAttrs(((0, 0), (0, 0), (1, 0), (0, 3)), fill=0.75),
        ((1, 3, 4, 2),),
    ),
}


def within(actual: Array, expected: Array) -> float:
    return float(np.abs(actual - expected).max()) / max(1.0, float(np.abs(expected).max()))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_kernel_gives_the_bytes_of_litert_when_numbers_are_drawn(
    case: str,
    dtype: DType,
    one_operator: Callable[..., Graph],
    draw_codes: Callable[..., dict[str, Array]],
    run_litert_samples: Callable[..., tuple[Array, ...]],
) -> None:
    op, attrs, shapes = CASES[case]
    for seed in range(3):
        graph = one_operator(op, attrs, shapes, dtype, seed)
        batches = draw_codes(graph, SAMPLES, seed)
        expected = run_litert_samples(emit_tflite(graph), batches)[0]
        actual = run_all(graph, batches)["y"]
        assert actual.dtype == expected.dtype
        if dtype is DType.FLOAT32:
            assert within(actual, expected) <= 1e-5
        else:
            np.testing.assert_array_equal(actual, expected)

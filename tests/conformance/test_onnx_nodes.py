"""ONNX's node tests: every case passes or is refused by name, and nothing else ever happens."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from benchmarks.onnx_nodes import (
    DEADLINE_S,
    PASSED,
    REFUSED,
    Outcome,
    node_cases,
    reason_of,
    run_cases,
)

pytestmark = pytest.mark.slow

# Operators whose every float32 form is ours, but for what OUTSIDE says.
# fmt: off
OURS = frozenset(
    {
        "Abs", "Add", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Celu",
        "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace",
        "DequantizeLinear", "Div", "Dropout", "Elu", "Exp", "Expand", "Flatten", "GRU", "Gather",
        "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "HardSigmoid",
        "HardSwish", "Identity", "InstanceNormalization", "LSTM", "LayerNormalization",
        "LeakyRelu", "LogSoftmax", "MatMul", "Max", "MaxPool", "Mean", "MeanVarianceNormalization",
        "Min", "Mul", "Neg", "PRelu", "Pad", "QuantizeLinear", "RMSNormalization", "RNN",
        "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
        "ReduceSumSquare", "Relu", "Reshape", "Resize", "Selu", "Shape", "Sigmoid", "Size",
        "Slice", "Softmax", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish",
        "Tanh", "Tile", "Transpose", "Unsqueeze", "Upsample", "Where",
    }
)
# fmt: on

# What a reason of one of our operators may be: its pattern, and why it is outside.
OUTSIDE = {
    r"input '…' is (u?int#|bool|double|b?float[#a-z]*|string)$": "graphs compute in float32",
    r"input '…' is no tensor": "sequences and optionals",
    r"input '…' is empty": "an activation has elements",
    r"it has no inputs": "nothing is computed",
    r"there is nothing in the output": "a result without elements",
    r"(windows over a tensor|a convolution with weights) \(#, #, #, #, #\)": "three directions",
    r"training mode": "devices infer",
    r"output '…' is quantized": "a float32 import has no integer outputs",
    r"Cast\w*: a cast to another format": "graphs compute in float32",
    r"MaxPool: its output #": "indices of a pool",
    r"Dropout: its output #": "masks are of training",
    r"opset # is too old": "opsets from 7 on",
}


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Every case of the wheel, once."""
    return run_cases(node_cases())


def test_every_case_passes_or_is_refused_in_one_line(outcomes: list[Outcome]) -> None:
    failed = [o for o in outcomes if o.kind not in (PASSED, REFUSED)]
    assert not failed, "\n".join(f"{o.case}: {o.kind}: {o.reason}" for o in failed)
    assert not [o.case for o in outcomes if "\n" in o.reason]
    assert max(o.seconds for o in outcomes) < DEADLINE_S


def test_our_operators_pass_where_nothing_is_outside(outcomes: list[Outcome]) -> None:
    refused = [o for o in outcomes if o.kind == REFUSED and OURS.issuperset(o.ops)]
    patterns = [re.compile(pattern) for pattern in OUTSIDE]
    unexplained = [
        f"{o.case}: {o.reason}"
        for o in refused
        if not any(pattern.search(reason_of(o)) for pattern in patterns)
    ]
    assert not unexplained, "\n".join(unexplained)


def test_every_exception_of_the_table_is_needed(outcomes: list[Outcome]) -> None:
    reasons = Counter(reason_of(o) for o in outcomes if o.kind == REFUSED)
    unused = [pattern for pattern in OUTSIDE if not any(re.search(pattern, r) for r in reasons)]
    assert not unused


def test_every_operator_of_ours_has_a_case_that_passes(outcomes: list[Outcome]) -> None:
    passing = {op for o in outcomes if o.kind == PASSED for op in o.ops}
    constants = {"Constant", "ConstantOfShape", "Cast", "Upsample"}  # in expanded cases, or bound
    quantized = {"QuantizeLinear", "DequantizeLinear"}
    assert OURS - passing - constants - quantized == set()


def test_no_case_is_lost(outcomes: list[Outcome]) -> None:
    passed = sum(o.kind == PASSED for o in outcomes)
    assert passed >= 0.30 * len(outcomes)

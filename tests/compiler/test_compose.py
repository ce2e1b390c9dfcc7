"""Composed operators compute what torch's modules do, and share their constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from edgekiln.compiler import compose
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.compose_recurrent import (
    ONNX_GRU_ORDER,
    ONNX_LSTM_ORDER,
    RecurrentWeights,
    gru,
    gru_reset_first,
    lstm,
)
from edgekiln.compiler.grammar import check
from edgekiln.compiler.graph import Array
from edgekiln.compiler.interpret import run_float, run_float_all
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize

Composer = Callable[[GraphBuilder, str], str]


def random(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def compute(composer: Composer, x: Array) -> Array:
    """What the composed operator gives, before and after `optimize`."""
    builder = GraphBuilder("composed", (1, *x.shape[1:]))
    graph = builder.finish(composer(builder, builder.input))
    check(graph)
    result = run_float(graph, x)
    assert np.abs(run_float(optimize(graph), x) - result).max() <= 1e-6
    return result


SCALAR: dict[str, tuple[Composer, Callable[[torch.Tensor], torch.Tensor]]] = {
    "clip": (lambda b, x: compose.clip(b, x, -0.5, 1.5), lambda x: x.clamp(-0.5, 1.5)),
    "clip_relu6": (lambda b, x: compose.clip(b, x, 0.0, 6.0), functional.relu6),
    "clip_low": (lambda b, x: compose.clip(b, x, 0.25, np.inf), lambda x: x.clamp(min=0.25)),
    "clip_high": (lambda b, x: compose.clip(b, x, -np.inf, 1.0), lambda x: x.clamp(max=1.0)),
    "clip_unit": (lambda b, x: compose.clip(b, x, 0.0, 1.0), lambda x: x.clamp(0.0, 1.0)),
    "hard_sigmoid": (lambda b, x: compose.hard_sigmoid(b, x), functional.hardsigmoid),
    "hard_sigmoid_onnx": (
        lambda b, x: compose.hard_sigmoid(b, x, 0.2, 0.4),
        lambda x: (0.2 * x + 0.4).clamp(0, 1),
    ),
    "elu": (lambda b, x: compose.elu(b, x), functional.elu),
    "elu_alpha": (lambda b, x: compose.elu(b, x, 0.3), lambda x: functional.elu(x, 0.3)),
    "silu": (lambda b, x: compose.silu(b, x), functional.silu),
    "split": (
        lambda b, x: compose.of_many(b, Op.MAXIMUM, compose.split(b, x, 1, (2, 2, 2))),
        lambda x: torch.stack(x.split(2, 1)).amax(0),
    ),
    "flip": (lambda b, x: compose.flip(b, x, 2), lambda x: x.flip(2)),
    "reflect": (
        lambda b, x: compose.pad_by_copies(b, x, 2, 2, 3, "reflect"),
        lambda x: functional.pad(x, (2, 3), mode="reflect"),
    ),
    "edge": (
        lambda b, x: compose.pad_by_copies(b, x, 2, 0, 4, "edge"),
        lambda x: functional.pad(x, (0, 4), mode="replicate"),
    ),
    "insert_drop": (
        lambda b, x: compose.drop_axis(b, compose.insert_axis(b, x, 2), 2),
        lambda x: x[:, :, None].squeeze(2),
    ),
}


@pytest.mark.parametrize("name", SCALAR)
def test_composed_operator_equals_torch_when_it_is_run(name: str) -> None:
    composer, expected = SCALAR[name]
    x = 4 * random(5, 6, 7)
    assert np.abs(compute(composer, x) - expected(torch.from_numpy(x)).numpy()).max() <= 1e-5


def test_global_pool_equals_torch_when_image_is_channels_last() -> None:
    x = random(2, 3, 4, 5)
    nchw = torch.from_numpy(x).permute(0, 3, 1, 2)
    for op, pool in (
        (Op.MEAN, functional.adaptive_avg_pool2d),
        (Op.REDUCE_MAX, functional.adaptive_max_pool2d),
    ):
        actual = compute(lambda b, x, op=op: compose.global_pool(b, op, x), x)  # type: ignore[misc]
        assert actual.shape == (2, 1, 1, 5)
        expected = pool(nchw, 1).permute(0, 2, 3, 1).numpy()  # type: ignore[operator]
        assert np.abs(actual - expected).max() <= 1e-6


@pytest.mark.parametrize("axes", [(2,), (1, 2)])
def test_layer_norm_equals_torch_when_it_covers_last_axes(axes: tuple[int, ...]) -> None:
    x = random(4, 5, 8) * 3 + 7
    shape = x.shape[axes[0] :]
    module = nn.LayerNorm(shape, eps=1e-3)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    scale, offset = module.weight.detach().numpy(), module.bias.detach().numpy()
    actual = compute(lambda b, x: compose.layer_norm(b, x, axes, scale, offset, 1e-3), x)
    expected = module(torch.from_numpy(x)).detach().numpy()
    assert np.abs(actual - expected).max() <= 1e-4


def test_group_norm_equals_torch_when_channels_are_last() -> None:
    x = random(3, 4, 5, 6)
    module = nn.GroupNorm(3, 6)
    nn.init.normal_(module.weight)
    scale = module.weight.detach().numpy()
    actual = compute(lambda b, x: compose.group_norm(b, x, 3, scale, None, 1e-5), x)
    expected = module(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert np.abs(actual - expected.detach().numpy()).max() <= 1e-4


def test_attention_equals_torch_when_it_is_masked_and_has_heads() -> None:
    x = random(3, 2, 5, 4)
    mask = np.triu(np.full((5, 5), -1e4, np.float32), 1)

    def attend(builder: GraphBuilder, x: str) -> str:
        doubled = compose.with_constant(builder, Op.MUL, x, 2.0)
        name = builder.constant("mask", mask)
        return compose.attention(builder, x, doubled, x, 0.5, name)

    t = torch.from_numpy(x)
    expected = functional.scaled_dot_product_attention(t, 2 * t, t, is_causal=True)
    assert np.abs(compute(attend, x) - expected.numpy()).max() <= 1e-5


def test_attention_equals_multihead_module_when_heads_are_split() -> None:
    x, heads, width = random(2, 6, 8), 2, 8
    module = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    nn.init.normal_(module.in_proj_bias)
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}

    def attend(builder: GraphBuilder, x: str) -> str:
        from edgekiln.compiler.ops import TransposeAttrs

        def swap(value: str) -> str:
            return builder.node(Op.TRANSPOSE, (value,), TransposeAttrs((0, 2, 1, 3)))

        projected = builder.fully_connected(x, weights["in_proj_weight"], weights["in_proj_bias"])
        parts = [
            swap(builder.reshape(part, (1, 6, heads, width // heads)))
            for part in compose.split(builder, projected, 2, (width,) * 3)
        ]
        mixed = swap(compose.attention(builder, *parts, (width // heads) ** -0.5))
        joined = builder.reshape(mixed, (1, 6, width))
        return builder.fully_connected(joined, weights["out_proj.weight"], weights["out_proj.bias"])

    t = torch.from_numpy(x)
    with torch.no_grad():
        expected = module(t, t, t, need_weights=False)[0].numpy()
    assert np.abs(compute(attend, x) - expected).max() <= 1e-5


def weights_of(module: nn.RNNBase) -> RecurrentWeights:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return RecurrentWeights(*(getattr(module, name).detach().numpy() for name in names))


RECURRENT: dict[str, tuple[Any, Any]] = {"lstm": (nn.LSTM, lstm), "gru": (nn.GRU, gru)}


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("with_state", [False, True])
def test_recurrent_layer_equals_torch_when_states_are_zero_or_given(
    kind: str, with_state: bool
) -> None:
    torch.manual_seed(1)
    module_class, composer = RECURRENT[kind]
    module = module_class(3, 4, batch_first=True)
    x, states = random(5, 6, 3), [random(1, 1, 4, seed=9), random(1, 1, 4, seed=10)]
    count = (2 if kind == "lstm" else 1) if with_state else 0
    builder = GraphBuilder(kind, (1, 6, 3))
    given = [builder.constant(f"state{index}", states[index][0]) for index in range(count)]
    result = composer(builder, builder.input, weights_of(module), *given)
    outputs = (result.steps, result.hidden, *([result.cell] if kind == "lstm" else []))
    graph = builder.finish(*outputs)
    check(graph)
    initial = [torch.from_numpy(state).expand(1, 5, 4).contiguous() for state in states[:count]]
    with torch.no_grad():
        steps, last = (
            module(torch.from_numpy(x), tuple(initial) if kind == "lstm" else initial[0])
            if with_state
            else module(torch.from_numpy(x))
        )
    expected = [steps, *(last if kind == "lstm" else (last,))]
    actual = run_float_all(optimize(graph), x)
    for name, tensor in zip(outputs, expected, strict=True):
        wanted = tensor.numpy() if tensor is steps else tensor.numpy()[0]
        assert np.abs(actual[name] - wanted).max() <= 1e-5


def test_recurrent_layer_adds_its_weights_once_when_steps_are_many() -> None:
    for module, composer in ((nn.LSTM(3, 4), lstm), (nn.GRU(3, 4), gru)):
        counts = []
        for steps in (2, 9):
            builder = GraphBuilder("long", (1, steps, 3))
            weights = weights_of(module)  # type: ignore[arg-type]
            graph = optimize(builder.finish(composer(builder, builder.input, weights).steps))
            counts.append(sum(value.data is not None for value in graph.values.values()))
        assert counts[0] == counts[1]


def test_gru_reset_first_equals_onnx_runtime_when_linear_before_reset_is_off() -> None:
    _against_onnx_runtime("GRU", gru_reset_first, 3, ONNX_GRU_ORDER, linear_before_reset=0)


def test_gru_equals_onnx_runtime_when_linear_before_reset_is_on() -> None:
    _against_onnx_runtime("GRU", gru, 3, ONNX_GRU_ORDER, linear_before_reset=1)


def test_lstm_equals_onnx_runtime_when_gates_are_reordered() -> None:
    _against_onnx_runtime("LSTM", lstm, 4, ONNX_LSTM_ORDER)


def _against_onnx_runtime(
    op: str, composer: Any, gates: int, order: tuple[int, ...], **attributes: int
) -> None:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    steps, features, hidden = 5, 3, 4
    w, r = random(gates * hidden, features, seed=1), random(gates * hidden, hidden, seed=2)
    bias = random(2 * gates * hidden, seed=4)
    node = helper.make_node(op, ["X", "W", "R", "B"], ["Y"], hidden_size=hidden, **attributes)
    shape = [steps, None, features]
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(data[None], name)
            for name, data in (("W", w), ("R", r), ("B", bias))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    x = random(2, steps, features)
    expected = session.run(None, {"X": x.transpose(1, 0, 2)})[0][:, 0].transpose(1, 0, 2)
    split = gates * hidden
    weights = RecurrentWeights(w, r, bias[:split], bias[split:]).reordered(order)
    builder = GraphBuilder("recurrent", (1, steps, features))
    built = optimize(builder.finish(composer(builder, builder.input, weights).steps))
    assert np.abs(run_float(built, x) - expected).max() <= 1e-5

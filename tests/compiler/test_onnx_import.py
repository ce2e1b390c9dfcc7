"""ONNX files as graphs: numbers against ONNX Runtime, and refusals in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekiln.compiler.errors import ImportModelError, UnsupportedOpError
from edgekiln.compiler.graph import Array
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.importers.layout import Imported
from edgekiln.compiler.importers.onnx import import_onnx
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Op

FLOAT = TensorProto.FLOAT
Shape = Sequence[int | str]


def model(
    nodes: Sequence[onnx.NodeProto],
    x: Shape,
    constants: dict[str, Array] | None = None,
    *,
    opset: int = 17,
    dtype: int = FLOAT,
    rank: int | None = None,
) -> onnx.ModelProto:
    """A model from `x` to `y` of a rank, that of x if none is given."""
    free = [None] * (len(x) if rank is None else rank)
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", dtype, x)],
        [helper.make_tensor_value_info("y", FLOAT, free)],
        [numpy_helper.from_array(data, name) for name, data in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def ours(imported: Imported, x: Array) -> Array:
    """The one output for the framework's input."""
    (source,), (sink,) = imported.inputs, imported.outputs
    return sink.from_graph(run_all(imported.graph, {source.value: source.to_graph(x)})[sink.value])


def theirs(proto: onnx.ModelProto, x: Array) -> Array:
    """The same, computed by ONNX Runtime without its fusions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return np.asarray(session.run(None, {"x": x})[0])


def random(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def conv_net() -> onnx.ModelProto:
    """Convolution, batch norm, ReLU6, pool, flatten, product; a free batch axis."""
    constants = {
        "w": random(0, 4, 2, 3, 3),
        "scale": random(1, 4),
        "shift": random(2, 4),
        "mean": random(3, 4),
        "variance": np.abs(random(4, 4)) + 0.5,
        "low": np.float32(0),
        "high": np.float32(6),
        "matrix": random(5, 4 * 3 * 4, 5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "variance"], ["b"]),
        helper.make_node("Clip", ["b", "low", "high"], ["c"]),
        helper.make_node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "matrix"], ["y"], name="last"),
    ]
    return model(nodes, ["n", 2, 6, 8], constants, rank=2)


def ops(imported: Imported) -> list[Op]:
    return [node.op for node in imported.graph.nodes]


def test_conv_net_equals_onnxruntime_without_transpose() -> None:
    imported = import_onnx(conv_net().SerializeToString(), "net")
    x = random(9, 3, 2, 6, 8)
    np.testing.assert_allclose(ours(imported, x), theirs(conv_net(), x), rtol=1e-4, atol=1e-4)
    assert imported.inputs[0].graph_shape == (1, 6, 8, 2)
    assert Op.TRANSPOSE not in ops(imported)
    assert Op.RELU6 in ops(imported)
    assert imported.graph.nodes[0].source == "first"


def test_reference_model_equals_onnxruntime_without_transpose(mlperf_models: Path) -> None:
    path = mlperf_models / "vww_mbv1_float.onnx"
    imported = import_onnx(path, "vww")
    x = np.random.default_rng(0).random((2, 3, 96, 96), np.float32)
    session = onnxruntime.InferenceSession(str(path))
    expected = np.concatenate([session.run(None, {"input_1": row[None]})[0] for row in x])
    np.testing.assert_allclose(ours(imported, x), expected, atol=1e-5)
    assert Op.TRANSPOSE not in ops(imported)
    assert import_model(path).input.shape == (1, 96, 96, 3)


@pytest.mark.parametrize("order", ["x half", "half x", "outside"])
def test_erf_product_becomes_gelu(order: str) -> None:
    numbers = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    nodes = [
        helper.make_node("Div", ["x", "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["one", "erf"], ["sum"]),
    ]
    if order == "outside":
        nodes += [
            helper.make_node("Mul", ["half", "x"], ["halved"]),
            helper.make_node("Mul", ["halved", "sum"], ["y"]),
        ]
    else:
        first, second = order.split()
        nodes += [
            helper.make_node("Mul", ["sum", first], ["product"]),
            helper.make_node("Mul", ["product", second], ["y"]),
        ]
    proto = model(nodes, [1, 9], numbers)
    imported = import_onnx(proto.SerializeToString(), "gelu")
    x = np.linspace(-4, 4, 9, dtype=np.float32)[None]
    np.testing.assert_allclose(ours(imported, x), theirs(proto, x), atol=1e-5)
    assert Op.GELU in ops(imported)


def test_erf_elsewhere_is_refused_by_name() -> None:
    proto = model([helper.make_node("Erf", ["x"], ["y"], name="lonely")], [1, 4])
    with pytest.raises(UnsupportedOpError, match=r"net: node 0 'lonely' \(Erf\).*replace it"):
        import_onnx(proto.SerializeToString(), "net")


@pytest.mark.parametrize(
    ("dtype", "axis", "block"),
    [("int8", 0, 0), ("uint8", 1, 0), ("int8", None, 0), ("int32", None, 0), ("int8", 1, 3)],
)
def test_quantized_constants_become_floats(dtype: str, axis: int | None, block: int) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 100, (4, 6)).astype(dtype)
    shape = () if axis is None else (4, 2) if block else stored.shape[axis : axis + 1]
    constants = {
        "stored": stored,
        "scale": rng.random(shape).astype(np.float32),
        "zero": (np.zeros(shape) if dtype == "int32" else np.full(shape, 7)).astype(dtype),
    }
    options = {} if axis is None else {"axis": axis}
    options |= {"block_size": block} if block else {}
    nodes = [
        helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["w"], **options),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    proto = model(nodes, [1, 4], constants, opset=21)
    x = random(1, 1, 4)
    imported = import_onnx(proto.SerializeToString(), "net")
    np.testing.assert_allclose(ours(imported, x), theirs(proto, x), rtol=1e-4, atol=1e-3)
    assert ops(imported) == [Op.FULLY_CONNECTED]


def test_quantized_activations_come_back_as_the_float_model() -> None:
    """A quantizer drops the ReLU before a format that begins at zero: it is there again."""
    constants = {
        "w": random(0, 4, 2, 1, 1),
        "scale": np.float32(0.05),
        "zero": np.uint8(0),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    proto = model(nodes, [1, 2, 4, 4], constants)
    imported = import_onnx(proto.SerializeToString(), "net")
    x = random(1, 1, 2, 4, 4)
    np.testing.assert_allclose(ours(imported, x), theirs(proto, x), atol=0.026)
    assert ops(imported) == [Op.CONV_2D, Op.RELU]
    assert "left out" in imported.notes[0]


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 18])
def test_axes_and_softmax_mean_what_their_opset_says(opset: int) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    proto = model(nodes, [2, 3, 4], opset=opset)
    x = random(0, 2, 3, 4)
    imported = import_onnx(proto.SerializeToString(), "net")
    np.testing.assert_allclose(ours(imported, x), theirs(proto, x), rtol=1e-5)


def test_weights_as_inputs_can_be_bound() -> None:
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [1, 4])
    proto.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [4, 2]))
    w, x = random(0, 4, 2), random(1, 1, 4)
    imported = import_onnx(proto.SerializeToString(), "net", {"w": w})
    np.testing.assert_allclose(ours(imported, x), x @ w, rtol=1e-5)
    assert [port.name for port in imported.inputs] == ["x"]


def test_row_model_says_that_it_reads_channels_last() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    proto = model(nodes, [1, 3, 9], {"w": random(0, 2, 3, 3)})
    imported = import_onnx(proto.SerializeToString(), "net")
    assert imported.inputs[0].order == (2, 1)
    assert imported.inputs[0].graph_shape == (1, 9, 3)
    assert imported.notes == ("input 'x', declared (1, 3, 9), is read as (1, 9, 3): channels last",)


def external(folder: Path, location: str, **entries: str) -> Path:
    """A model whose weights are said to lie in another file."""
    weights = random(0, 4, 2)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [1, 4], {"w": weights})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.onnx").write_bytes(proto.SerializeToString())
    return folder / "net.onnx"


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"1234" + random(0, 4, 2).tobytes())
    path = external(tmp_path, "w.bin", offset="4", length="32")
    x = random(1, 1, 4)
    np.testing.assert_allclose(ours(import_onnx(path, "net"), x), x @ random(0, 4, 2), rtol=1e-5)


@pytest.mark.parametrize("location", ["../w.bin", "sub/../../w.bin", "link.bin", "", "{absolute}"])
def test_weights_outside_of_the_folder_are_never_read(tmp_path: Path, location: str) -> None:
    secret = tmp_path / "w.bin"
    secret.write_bytes(random(0, 4, 2).tobytes())
    path = external(tmp_path / "model", location.format(absolute=secret))
    (tmp_path / "model" / "link.bin").symlink_to(secret)
    with pytest.raises(ImportModelError, match="outside of the model's folder"):
        import_onnx(path, "net")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "16"}, "shape|damaged"),
        ({"offset": "-1"}, "cut off"),
        ({"length": "33"}, "cut off"),
        ({"offset": "many"}, "damaged offsets"),
    ],
)
def test_damaged_places_of_weights_are_refused(
    tmp_path: Path, entries: dict[str, str], message: str
) -> None:
    (tmp_path / "w.bin").write_bytes(random(0, 4, 2).tobytes())
    with pytest.raises(ImportModelError, match=message):
        import_onnx(external(tmp_path, "w.bin", **entries), "net")


def test_external_weights_of_bytes_are_refused(tmp_path: Path) -> None:
    data = external(tmp_path, "w.bin").read_bytes()
    with pytest.raises(ImportModelError, match="give the path of the model"):
        import_onnx(data, "net")


def _cyclic() -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    return model([*nodes, helper.make_node("Add", ["x", "b"], ["y"])], [1, 4])


def _huge_constant() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    return model(nodes, [1], {"shape": np.asarray([1 << 20, 1 << 20], np.int64)})


def _own_functions() -> onnx.ModelProto:
    proto = conv_net()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "F", ["a"], ["b"], body, proto.opset_import)
    proto.functions.append(function)
    return proto


def _one(op: str, shape: Shape = (1, 4), **attributes: Any) -> onnx.ModelProto:
    return model([helper.make_node(op, ["x"], ["y"], **attributes)], shape)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_cyclic, "inconsistent ONNX model"),
        (_huge_constant, r"net: node 0 'c' \(ConstantOfShape\).*a constant of shape"),
        (_own_functions, "inline them first"),
        (
            lambda: _one("Relu", [1, "width"]),
            r"axis 1 of input 'x' is free \(width\); fix its size",
        ),
        (lambda: _one("Relu", [1, 0]), "input 'x' is empty"),
        (lambda: _one("Relu", [1 << 20, 1 << 20]), "at most"),
        (lambda: model([helper.make_node("Neg", ["x"], ["y"])], [1], dtype=7), "x' is int64"),
        (lambda: _one("Relu", [1, 4]).FromString(b"\x08\x08"), "0 nodes"),
        (
            lambda: model([helper.make_node("Relu", ["x"], ["y"])], [1], opset=6),
            "opset 6 is too old",
        ),
    ],
)
def test_model_that_cannot_be_is_refused_in_one_line(
    build: Callable[[], onnx.ModelProto], message: str
) -> None:
    with pytest.raises(ImportModelError, match=message) as caught:
        import_onnx(build().SerializeToString(), "net")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: _one("Sin", [1, 4]), r"\(Sin\) is not supported: there is no word"),
        (lambda: _one("Relu", [1, 4], domain="com.own"), "com.own.Relu"),
        (lambda: _one("MaxPool", [1, 2, 4, 4, 4], kernel_shape=[2, 2, 2]), "one or two directions"),
        (lambda: _one("Cast", [1, 4], to=TensorProto.FLOAT16), "another format than float32"),
    ],
)
def test_unknown_operator_is_named_with_ways_out(
    build: Callable[[], onnx.ModelProto], message: str
) -> None:
    with pytest.raises(UnsupportedOpError, match=message) as caught:
        import_onnx(build().SerializeToString(), "net")
    assert "node 0 'y'" in str(caught.value)
    assert "replace it before you export" in str(caught.value)


def test_computed_weights_are_refused_by_name() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    proto = model(nodes, [1, 1, 3, 3])
    with pytest.raises(UnsupportedOpError, match="its weights 'w' is computed, bind it"):
        import_onnx(proto.SerializeToString(), "net")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_raise_nothing_but_import_errors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(conv_net().SerializeToString())
    for _ in range(1 + seed % 4):
        data[rng.integers(len(data))] = rng.integers(256)
    if seed % 5 == 0:
        del data[rng.integers(len(data)) :]
    with contextlib.suppress(ImportModelError):
        import_onnx(bytes(data), "net")


def test_model_file_of_two_inputs_is_refused_by_import_model(tmp_path: Path) -> None:
    proto = model([helper.make_node("Add", ["x", "z"], ["y"])], [1, 4])
    proto.graph.input.append(helper.make_tensor_value_info("z", FLOAT, [1, 4]))
    path = tmp_path / "two.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ImportModelError, match="2 inputs and 1 outputs"):
        import_model(path)

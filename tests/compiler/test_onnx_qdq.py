"""QDQ models: what a quantizer writes between operators does not hide what the model is."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgekiln.compiler.graph import Array
from edgekiln.compiler.importers.layout import Imported
from edgekiln.compiler.importers.onnx import import_onnx
from edgekiln.compiler.interpret import run_all
from edgekiln.compiler.ops import Op
from edgekiln.compiler.passes import optimize

ZERO = -128  # the least code: the format begins at zero


class Quantizer:
    """Writes a model whose operators read through QuantizeLinear and DequantizeLinear."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def constant(self, name: str, data: Array) -> str:
        self.constants[name] = np.asarray(data)
        return name

    def coded(self, name: str, largest: float, zero: int) -> str:
        """`name` after a round trip through int8."""
        scale = self.constant(f"{name}_scale", np.float32(largest / (127 - zero)))
        point = self.constant(f"{name}_zero", np.int8(zero))
        codes, back = f"{name}_codes", f"{name}_back"
        self.nodes.append(helper.make_node("QuantizeLinear", [name, scale, point], [codes]))
        self.nodes.append(helper.make_node("DequantizeLinear", [codes, scale, point], [back]))
        return back

    def node(self, op: str, inputs: list[str], output: str) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output]))
        return output

    def model(self, shape: tuple[int, ...]) -> bytes:
        free = [None] * len(shape)
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, free)],
            [numpy_helper.from_array(data, name) for name, data in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        data: bytes = proto.SerializeToString()
        return data


def ours(imported: Imported, x: Array) -> Array:
    (source,), (sink,) = imported.inputs, imported.outputs
    return sink.from_graph(run_all(imported.graph, {source.value: source.to_graph(x)})[sink.value])


def theirs(model: bytes, x: Array) -> Array:
    return np.asarray(onnxruntime.InferenceSession(model).run(None, {"x": x})[0])


def test_gelu_is_found_when_its_parts_are_quantized() -> None:
    build = Quantizer()
    root, one = build.constant("root", np.float32(2**0.5)), build.constant("one", np.float32(1))
    x = build.coded("x", 4, 0)
    erf = build.node("Erf", [build.coded(build.node("Div", [x, root], "scaled"), 3, 0)], "erf")
    plus = build.node("Add", [build.coded(erf, 1, 0), build.coded(one, 1, ZERO)], "plus")
    product = build.node("Mul", [x, build.coded(plus, 2, ZERO)], "product")
    half = build.coded(build.constant("half", np.float32(0.5)), 0.5, ZERO)
    result = build.node("Mul", [build.coded(product, 8, 0), half], "result")
    build.node("Identity", [build.coded(result, 4, 0)], "y")
    model = build.model((1, 9))
    imported = import_onnx(model, "gelu")
    assert [node.op for node in optimize(imported.graph).nodes] == [Op.GELU]
    x_values = np.linspace(-4, 4, 9, dtype=np.float32)[None]
    np.testing.assert_allclose(ours(imported, x_values), theirs(model, x_values), atol=0.1)


def test_series_arrives_channels_last_when_its_format_begins_at_zero() -> None:
    rng = np.random.default_rng(0)
    build = Quantizer()
    weights = build.constant("w", rng.normal(size=(3, 2, 3)).astype(np.float32))
    build.node("Conv", [build.coded("x", 1, ZERO), weights], "y")
    model = build.model((1, 2, 9))
    imported = import_onnx(model, "net")
    ops = [node.op for node in imported.graph.nodes]
    assert Op.RELU not in ops
    assert Op.TRANSPOSE not in ops
    x = rng.uniform(0, 1, (1, 2, 9)).astype(np.float32)
    np.testing.assert_allclose(ours(imported, x), theirs(model, x), atol=0.02)


def test_constants_stay_constants_when_they_are_quantized_in_the_file() -> None:
    rng = np.random.default_rng(0)
    build = Quantizer()
    scale = build.coded(build.constant("s", rng.uniform(0.5, 1, 2).astype(np.float32)), 1, ZERO)
    shift = build.constant("b", np.zeros(2, np.float32))
    build.node("InstanceNormalization", ["x", scale, shift], "y")
    model = build.model((1, 2, 9))
    x = rng.normal(size=(1, 2, 9)).astype(np.float32)
    np.testing.assert_allclose(ours(import_onnx(model, "net"), x), theirs(model, x), atol=0.02)

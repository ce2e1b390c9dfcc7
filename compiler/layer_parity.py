"""Every layer alone in an engine, fed with what the reference recorded in front of it.

Engines that round otherwise than the reference drift apart from layer to layer, and how far says
more about the network than about the engine. A layer alone says what the engine does: here each
node becomes a file of its own, runs on the reference's activations, and its codes are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from edgekiln.runtime.litert import Memory, memory_of
from edgekiln.runtime.quant import quantize_to
from edgekiln.targets.errors import MissingToolError

from .emit_onnx import emit_onnx
from .emit_tflite import emit_tflite
from .errors import CompileError
from .graph import Array, DType, Graph, Node
from .int_kernels.common import params
from .mcu import run_tflm_codes
from .oracles import Engine, litert_interpreter, onnx_session
from .parity import LayerRow, layer_row

_FORMATS = (DType.INT8, DType.INT16, DType.FLOAT32)


def single_layers(graph: Graph) -> Iterator[tuple[Node, Graph]]:
    """Each node with the graph of it alone: the activations that it reads are its inputs.

    Nodes that compute weights from constants go with the node that reads them.
    """
    makers = _constant_makers(graph)
    for node in graph.nodes:
        if node.output in makers:
            continue
        helpers = [makers[name] for name in node.inputs if name in makers]
        nodes = [*helpers, node]
        names = [name for each in nodes for name in (*each.inputs, *each.outputs)]
        values = [graph.values[name] for name in dict.fromkeys(names)]
        made = {helper.output for helper in helpers}
        read = dict.fromkeys(
            name for name in node.inputs if graph.values[name].data is None and name not in made
        )
        ends = [graph.values[name] for name in (*read, node.output)]
        if read and all(value.dtype in _FORMATS for value in ends):
            yield node, Graph.build(node.name, values, nodes, tuple(read), node.outputs)


def _constant_makers(graph: Graph) -> dict[str, Node]:
    """Nodes that read constants alone, such as one that widens float16 weights, by output."""
    return {
        node.output: node
        for node in graph.nodes
        if all(graph.values[name].data is not None for name in node.inputs)
    }


def compare_alone(
    graph: Graph, recorded: Mapping[str, Array], engine: Engine
) -> tuple[tuple[LayerRow, ...], tuple[str, ...]]:
    """A row for each layer that `engine` runs alone, and remarks on those that it does not.

    `recorded` are the reference's values by name, each (n, …).
    """
    rows, remarks = [], []
    for node, layer in single_layers(graph):
        inputs = {name: recorded[name] for name in layer.inputs}
        try:
            found = _RUNNERS[engine](layer, inputs)
        except (CompileError, MissingToolError) as error:
            remarks.append(f"{engine}: layer '{node.name}' was not run alone: {error}")
            continue
        expected = recorded[node.output]
        rows.append(layer_row(node, engine, expected, found.reshape(expected.shape)))
    return tuple(rows), tuple(remarks)


def _run_xnnpack(layer: Graph, inputs: Mapping[str, Array]) -> Array:
    interpreter = litert_interpreter(emit_tflite(layer))
    places = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    end = interpreter.get_output_details()[0]["index"]
    forgets = memory_of(interpreter) is Memory.OF_A_SAMPLE
    answers = []
    for sample in range(len(next(iter(inputs.values())))):
        if forgets:
            interpreter.reset_all_variables()
        for name, data in inputs.items():
            interpreter.set_tensor(places[name], data[sample : sample + 1])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(end))
    return np.concatenate(answers)


def _run_tflm(layer: Graph, inputs: Mapping[str, Array]) -> Array:
    return run_tflm_codes(emit_tflite(layer), list(inputs.values()))


def _run_onnx(layer: Graph, inputs: Mapping[str, Array]) -> Array:
    """Codes in and out; the file takes and gives the real numbers that they stand for."""
    session = onnx_session(emit_onnx(layer))
    found = session.run(None, {name: _real(layer, name, data) for name, data in inputs.items()})
    return _codes(layer, np.asarray(found[0]))


def _real(layer: Graph, name: str, data: Array) -> Array:
    if data.dtype.kind == "f":
        return data
    quant = params(layer, name)
    return (data.astype(np.float32) - quant.zero_point[0]) * np.float32(quant.scale[0])


def _codes(layer: Graph, real: Array) -> Array:
    output = layer.output
    if output.dtype is DType.FLOAT32:
        return real
    quant = params(layer, output.name)
    return quantize_to(output.dtype.numpy, real, quant.scale[0], quant.zero_point[0])


_RUNNERS: Mapping[Engine, Callable[[Graph, Mapping[str, Array]], Array]] = {
    Engine.LITERT_XNNPACK: _run_xnnpack,
    Engine.ONNXRUNTIME: _run_onnx,
    Engine.TFLM: _run_tflm,
}

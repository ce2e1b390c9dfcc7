"""`certify`: run every engine that is here on the same samples and write down what they said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import quantize_array
from edgekiln.targets.errors import MissingToolError

from .artifacts import EmittedArtifact
from .emit_c import emit_c
from .graph import Graph
from .int_kernels.common import params
from .interpret import run_float
from .oracles import (
    RUNTIME_ENGINES,
    Engine,
    distribution_version,
    outputs_of,
    run_c_host,
    run_litert_reference,
    run_runtime,
    tool_version,
)
from .parity import (
    LAYER_SAMPLES,
    Certificate,
    EngineRow,
    LayerRow,
    compare,
    compare_layers,
    cpu_flags,
    first_diverging,
    machine_name,
)
from .pricing import EmulatedArtifact
from .reference import quantize_input, run_int8

PARITY_SAMPLES = 256
C_SAMPLES = 64  # they are compiled in as text

Floats = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]


def certify(
    float_graph: Graph,
    graph: Graph,
    artifacts: Mapping[str, EmittedArtifact],
    emulations: Mapping[str, EmulatedArtifact],
    x: Floats,
) -> Certificate:
    """Certificate of the int8 `graph` and its artifacts by format.

    `x` are preprocessed samples (n, …); `emulations` by target id hold the outputs of the golden
    vectors, which are the artifact's own. Raises CompileError where an engine cannot load what
    was emitted; what disagrees is recorded, not raised.
    """
    expected = run_int8(graph, quantize_input(graph, x))
    rows = [_float_row(float_graph, graph, x, expected)]
    missing: list[str] = []
    layers: tuple[LayerRow, ...] = ()
    if "tflite" in artifacts:
        model = artifacts["tflite"].model
        rows.append(_reference_row(model, x, expected))
        layers = compare_layers(graph, model, x[:LAYER_SAMPLES])
    rows += [
        _runtime_row(graph, artifacts[fmt], x, expected)
        for fmt in RUNTIME_ENGINES
        if fmt in artifacts
    ]
    if "c" in artifacts:
        try:
            rows.append(_c_row(graph, x[:C_SAMPLES], expected[:C_SAMPLES]))
        except MissingToolError as error:
            missing.append(f"{Engine.C_HOST}: {error}")
        rows += _emulated_rows(graph, artifacts["c"], emulations)
    return Certificate(
        numerics="int8.v1",
        samples=len(x),
        engines=tuple(rows),
        layers=layers,
        first_diverging=first_diverging(layers),
        machine=machine_name(),
        cpu_flags=cpu_flags(),
        missing=tuple(missing),
    )


def _float_row(float_graph: Graph, graph: Graph, x: Floats, expected: Int8) -> EngineRow:
    quant = params(graph, graph.outputs[0])
    rounded = quantize_array(run_float(float_graph, x), quant.scale[0], quant.zero_point[0])
    version = f"numpy {np.__version__}"
    return compare(Engine.FLOAT, "float32", "", version, expected, rounded)


def _reference_row(model: bytes, x: Floats, expected: Int8) -> EngineRow:
    version = f"ai-edge-litert {distribution_version('ai-edge-litert')}"
    found = run_litert_reference(model, x)
    return compare(Engine.LITERT_REFERENCE, "tflite", "", version, expected, found)


def _runtime_row(graph: Graph, artifact: EmittedArtifact, x: Floats, expected: Int8) -> EngineRow:
    """The engine that a Linux device runs this format in."""
    engine, package = RUNTIME_ENGINES[artifact.format]
    found = run_runtime(artifact.format, artifact.model, x, params(graph, graph.outputs[0]))
    version = f"{package} {distribution_version(package)}"
    return compare(engine, artifact.format, "", version, expected, found)


def _c_row(graph: Graph, x: Floats, expected: Int8) -> EngineRow:
    """The same layers as the artifact's, with more samples compiled in."""
    files = emit_c(graph, quantize_input(graph, x)).files
    found = run_c_host(files, expected.shape[1])
    return compare(Engine.C_HOST, "c", "", tool_version("gcc"), expected, found)


def _emulated_rows(
    graph: Graph, artifact: EmittedArtifact, emulations: Mapping[str, EmulatedArtifact]
) -> Iterator[EngineRow]:
    """The artifact's golden vectors; expected outputs come from the reference, not from the C."""
    version = tool_version("arm-none-eabi-gcc")
    expected = run_int8(graph, artifact.golden)
    for target_id, emulated in emulations.items():
        if emulated.emulation is not None:
            found = outputs_of(emulated.emulation.outputs, expected.shape[1])
            yield compare(Engine.C_EMULATED, "c", target_id, version, expected, found)

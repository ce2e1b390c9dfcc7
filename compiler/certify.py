"""`certify`: run every engine that is here on the same samples and write down what they said."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import Logits, quantize_to
from edgekiln.targets.errors import MissingToolError

from .artifacts import Codes, EmittedArtifact
from .bounds import depth_of
from .errors import CompileError, MissingKernelError
from .graph import DType, Graph
from .int_kernels.common import params
from .interpret import run_float
from .layer_parity import compare_alone
from .mcu import TFLM, run_tflm
from .numerics import numerics_of, output_scale
from .oracles import (
    RUNTIME_ENGINES,
    Engine,
    answer_c_host,
    distribution_version,
    outputs_of,
    run_library,
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
    diverging,
    first_diverging,
    machine_name,
)
from .pricing import EmulatedArtifact
from .reference import quantize_input, run_int8, run_int8_all

PARITY_SAMPLES = 256
TFLM_SAMPLES, TFLM_LAYER_SAMPLES = 32, 4  # its portable kernels are slow
C_SAMPLES = 200

Floats = npt.NDArray[np.float32]


def certify(
    float_graph: Graph | None,
    graph: Graph,
    artifacts: Collection[EmittedArtifact],
    emulations: Mapping[str, EmulatedArtifact],
    x: Floats,
    golden: Floats | None = None,
) -> Certificate:
    """Certificate of `graph` as it is emitted and its artifacts, one of each kind.

    There is no `float_graph` where the model came quantized. `x` and `golden` are preprocessed
    samples (n, …); `emulations` by target id hold the outputs of the golden vectors, which are the
    artifacts' own. Raises CompileError where an engine cannot load what was emitted; what disagrees
    is recorded, not raised.
    """
    expected = run_int8(graph, quantize_input(graph, x))
    rows = [_float_row(float_graph, graph, x, expected)] if float_graph is not None else []
    of_files = {a.format: a for a in artifacts if a.format != "c"}
    missing: list[str] = []
    rows += _file_rows(graph, of_files, x, expected, missing)
    if "tflite" in of_files and distribution_version(TFLM) != "absent":
        try:
            rows.append(_tflm_row(graph, of_files["tflite"].model, x, expected))
        except CompileError as error:
            missing.append(f"{Engine.TFLM}: {error}")
    layers = _layers(graph, of_files, x[:LAYER_SAMPLES], missing)
    of_c = [artifact for artifact in artifacts if artifact.format == "c"]
    if of_c:
        families = {artifact.family: artifact for artifact in of_c}.values()
        try:
            rows += [_c_row(graph, a, x[:C_SAMPLES], expected[:C_SAMPLES]) for a in families]
        except MissingToolError as error:
            missing.append(f"{Engine.C_HOST}: {error}")
        rows += [_library_row(graph, a, x, expected) for a in of_c if a.runnable is not None]
        rows += _emulated_rows(graph, of_c[0].golden, emulations)
    return Certificate(
        numerics=numerics_of(graph),
        samples=len(x),
        engines=tuple(rows),
        layers=layers,
        first_diverging=first_diverging(layers),
        diverging=diverging(layers),
        depth=depth_of(graph),
        machine=machine_name(),
        cpu_flags=cpu_flags(),
        missing=tuple(missing),
        golden=() if golden is None else _golden_rows(graph, of_files, golden),
    )


def _layers(
    graph: Graph, artifacts: Mapping[str, EmittedArtifact], x: Floats, missing: list[str]
) -> tuple[LayerRow, ...]:
    """Rows of LiteRT's reference kernels on the whole file, and of other engines layer by layer."""
    rows: list[LayerRow] = []
    if "tflite" in artifacts:
        with contextlib.suppress(MissingKernelError):  # said of the whole file already
            rows += compare_layers(graph, artifacts["tflite"].model, x)
    recorded = run_int8_all(graph, quantize_input(graph, x))
    for fmt, (engine, package) in RUNTIME_ENGINES.items():
        if fmt in artifacts and distribution_version(package) != "absent":
            alone, remarks = compare_alone(graph, recorded, engine)
            rows += alone
            missing += remarks
    if "tflite" in artifacts and distribution_version(TFLM) != "absent":
        samples = {name: data[:TFLM_LAYER_SAMPLES] for name, data in recorded.items()}
        rows += compare_alone(graph, samples, Engine.TFLM)[0]
    return tuple(rows)


def _file_rows(
    graph: Graph,
    artifacts: Mapping[str, EmittedArtifact],
    x: Floats,
    expected: Logits,
    missing: list[str],
) -> list[EngineRow]:
    """Every engine that takes a file; those that lack a kernel are named in `missing`."""
    rows = []
    if "tflite" in artifacts:
        try:
            rows.append(_reference_row(graph, artifacts["tflite"].model, x, expected))
        except MissingKernelError as error:
            missing.append(f"{Engine.LITERT_REFERENCE} is no witness: {error}")
    rows += [
        _runtime_row(graph, artifacts[fmt], x, expected)
        for fmt in RUNTIME_ENGINES
        if fmt in artifacts
    ]
    return rows


def _golden_rows(
    graph: Graph, artifacts: Mapping[str, EmittedArtifact], golden: Floats
) -> tuple[EngineRow, ...]:
    """What `verify_bundle` compares with; C is exact or not at all."""
    expected = run_int8(graph, quantize_input(graph, golden))
    return tuple(_file_rows(graph, artifacts, golden, expected, []))


def _float_row(float_graph: Graph, graph: Graph, x: Floats, expected: Logits) -> EngineRow:
    found: Logits = run_float(float_graph, x)
    if graph.output.dtype is not DType.FLOAT32:
        quant = params(graph, graph.outputs[0])
        found = quantize_to(expected.dtype, found, quant.scale[0], quant.zero_point[0])
    version = f"numpy {np.__version__}"
    return compare(Engine.FLOAT, "float32", "", version, expected, found)


def _reference_row(graph: Graph, model: bytes, x: Floats, expected: Logits) -> EngineRow:
    version = f"ai-edge-litert {distribution_version('ai-edge-litert')}"
    found = run_litert_reference(model, x)
    course = depth_of(graph), numerics_of(graph)
    return compare(Engine.LITERT_REFERENCE, "tflite", "", version, expected, found, *course)


def _tflm_row(graph: Graph, model: bytes, x: Floats, expected: Logits) -> EngineRow:
    version = f"{TFLM} {distribution_version(TFLM)}"
    found = run_tflm(model, x[:TFLM_SAMPLES])
    depth = depth_of(graph)
    return compare(Engine.TFLM, "tflite", "", version, expected[:TFLM_SAMPLES], found, depth)


def _runtime_row(graph: Graph, artifact: EmittedArtifact, x: Floats, expected: Logits) -> EngineRow:
    """The engine that a Linux device runs this format in."""
    engine, package = RUNTIME_ENGINES[artifact.format]
    found = run_runtime(artifact.format, artifact.model, x, output_scale(graph, expected))
    version = f"{package} {distribution_version(package)}"
    course = depth_of(graph), numerics_of(graph)
    return compare(engine, artifact.format, "", version, expected, found, *course)


def _c_row(graph: Graph, artifact: EmittedArtifact, x: Floats, expected: Logits) -> EngineRow:
    """The artifact's own sources, built here to answer other samples than its golden vectors."""
    found = answer_c_host(artifact.files, quantize_input(graph, x), expected.shape[1])
    row = compare(Engine.C_HOST, "c", "", tool_version("gcc"), expected, found)
    return msgspec.structs.replace(row, kernels=artifact.family.value)


def _library_row(graph: Graph, artifact: EmittedArtifact, x: Floats, expected: Logits) -> EngineRow:
    """The shared object of the artifact, in the engine that a device runs it in."""
    scale = output_scale(graph, expected)
    found = run_library(artifact.files, x, scale, graph.name)
    version = f"edgekiln {distribution_version('edgekiln')}"
    return compare(Engine.C_LIBRARY, "c", "", version, expected, found)


def _emulated_rows(
    graph: Graph, golden: Codes, emulations: Mapping[str, EmulatedArtifact]
) -> Iterator[EngineRow]:
    """The artifacts' golden vectors; expected outputs come from the reference, not from the C."""
    expected = run_int8(graph, golden)
    for target_id, emulated in emulations.items():
        if emulated.emulation is not None:
            found = outputs_of(emulated.emulation.outputs, expected.shape[1])
            version = emulated.compiler
            yield compare(Engine.C_EMULATED, "c", target_id, version, expected, found)

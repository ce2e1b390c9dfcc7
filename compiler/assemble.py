"""What a compile has found out, and how it becomes the manifest and the members of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from edgekiln.runtime.bundle import CONTRACT, GOLDEN, REFERENCE
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.quant import softmax
from edgekiln.runtime.reference import build_reference
from edgekiln.runtime.tensor_map import TENSORS, pack_tensors
from edgekiln.targets.evidence import Estimate
from edgekiln.targets.target import Target

from .accuracy import EngineAccuracy
from .artifacts import EmittedArtifact
from .bounds import golden_steps
from .c_report import CFigures
from .card import write_card
from .data import Dataset
from .gate import Priced
from .graph import Graph
from .numerics import numerics_of, output_scale
from .parity import Certificate
from .provenance import input_digests, tool_versions
from .reference import dequantize_output, quantize_input, run_int8
from .request import ArtifactReport, CompiledModel, CompileRequest
from .tensor_spans import find_tensors

CERTIFICATE = "certificate.json"
CARD = "card.md"
GOLDEN_SAMPLES = 20  # emulated cores run them, so they are few

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Build:
    """One artifact of one target with everything that is known about it."""

    target: Target
    artifact: EmittedArtifact
    priced: Priced
    measured: Estimate | None
    figures: CFigures | None  # of generated C


@dataclass(frozen=True)
class Draft:
    """A manifest without its list of members, which packing fills in, and the members."""

    manifest: Manifest
    members: Mapping[str, bytes]


def samples_of(dataset: Dataset, rows: Rows, limit: int) -> Floats:
    """At most `limit` raw samples (n, *input.shape) of a split, spread evenly over it."""
    if len(rows) <= limit:
        return dataset.x[rows]
    return dataset.x[rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]]


def model_samples(graph: Graph, dataset: Dataset, raw: Floats) -> Floats:
    """Raw samples as the graph takes them: preprocessed, in its shape."""
    return dataset.contract.preprocess(raw).reshape(-1, *graph.input.shape[1:])


def assemble(
    request: CompileRequest,
    model: CompiledModel,
    builds: Sequence[Build],
    gate: Gate,
    certificate: Certificate,
    accuracies: Sequence[EngineAccuracy],
    golden: Floats,
    notes: Sequence[str],
) -> Draft:
    """The manifest and every member; `golden` (n, *input.shape) are raw samples."""
    manifest = _manifest(request, model, builds, gate, accuracies)
    members = _members(request, model, builds, certificate, golden)
    dataset = request.dataset
    members[CARD] = write_card(manifest, dataset.contract, certificate, dataset.name, notes)
    return Draft(manifest, members)


def report(build: Build) -> ArtifactReport:
    """What a person is told about one artifact."""
    return ArtifactReport(
        target=build.target.id,
        format=build.artifact.format,
        bytes=build.artifact.nbytes,
        footprint=build.priced.footprint,
        measured=build.measured,
        figures=build.figures,
    )


def _manifest(
    request: CompileRequest,
    model: CompiledModel,
    builds: Sequence[Build],
    gate: Gate,
    accuracies: Sequence[EngineAccuracy],
) -> Manifest:
    measured = {row.format: row.accuracy for row in accuracies}
    formats = dict.fromkeys(build.artifact.format for build in builds)
    lineage = request.lineage or Lineage(data_sha256="")
    return Manifest(
        name=request.name,
        members=(),
        artifacts=tuple(_artifact(build, model, measured) for build in builds),
        accuracy_float=model.accuracy_float,
        accuracy_int8=model.accuracy,
        gate=gate,
        lineage=msgspec.structs.replace(
            lineage, data_sha256=request.dataset.sha256, seed=request.seed
        ),
        inputs=input_digests(request, model.float_graph or model.graph),
        tools=tool_versions(request, formats),
    )


def _artifact(build: Build, model: CompiledModel, measured: Mapping[str, float | None]) -> Artifact:
    """Accuracy is that of the format's own engine; the reference's where none runs here."""
    cost = build.priced.footprint
    accuracy = measured.get(build.artifact.format)
    return Artifact(
        target=build.target.id,
        format=build.artifact.format,
        path=build.artifact.path(build.target.id),
        bytes=build.artifact.nbytes,
        sha256=build.artifact.sha256,
        numerics=numerics_of(model.graph),
        accuracy=model.accuracy if accuracy is None else accuracy,
        latency=None if cost.latency is None else EstimateRecord.of(cost.latency),
        ram=EstimateRecord.of(cost.ram),
        flash=EstimateRecord.of(cost.flash),
        golden_max_lsb=golden_steps(build.artifact.format, model.graph),
    )


def _members(
    request: CompileRequest,
    model: CompiledModel,
    builds: Sequence[Build],
    certificate: Certificate,
    golden: Floats,
) -> dict[str, bytes]:
    dataset, graph = request.dataset, model.graph
    expected = run_int8(graph, quantize_input(graph, model_samples(graph, dataset, golden)))
    scale = output_scale(graph, expected)
    members = {
        CONTRACT: msgspec.json.encode(dataset.contract, order="sorted"),
        GOLDEN: pack_golden(Golden(golden, expected, scale.scale, scale.zero_point)),
        REFERENCE: _reference(graph, dataset),
        CERTIFICATE: certificate.to_bytes(),
    }
    artifacts: dict[str, bytes] = {}
    for build in builds:
        artifacts |= build.artifact.members(build.target.id)
    members[TENSORS] = pack_tensors(find_tensors(graph, artifacts))
    return members | artifacts


def _reference(graph: Graph, dataset: Dataset) -> bytes:
    """What the emitted model makes of its own training split, for drift detection."""
    raw = dataset.x[dataset.train]
    answers = run_int8(graph, quantize_input(graph, model_samples(graph, dataset, raw)))
    confidences = softmax(dequantize_output(graph, answers)).max(axis=1)
    classes = answers.argmax(axis=1).astype(np.int64)
    return build_reference(dataset.contract, raw, confidences, classes).to_bytes()

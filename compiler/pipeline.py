"""`compile_model`: a trained model in, one proven bundle for named targets out.

distil → import → optimize → quantize → emit → emulate → certify → price → gate → pack. Every
stage is a function of the ones before it; nothing is written, and nothing comes out of a compile
that broke parity or the gate.

Equal requests give equal bytes on one machine with one set of tools. The manifest therefore holds
estimates only: from the cost tables that came with the targets, and from emulation, which counts
and does not time. What is timed here and now is in `CompileResult.artifacts` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgekiln.runtime.bundle import CONTRACT, GOLDEN, REFERENCE, pack_bundle, parse_bundle
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.quant import softmax
from edgekiln.runtime.reference import build_reference
from edgekiln.targets.evidence import Estimate
from edgekiln.targets.target import Target

from .artifacts import EmittedArtifact, emit_artifact
from .card import write_card
from .certify import PARITY_SAMPLES, certify
from .data import Dataset
from .distil import distil
from .errors import CompileError, ImportModelError
from .gate import Priced, check_gate, effective_budget, enforce
from .graph import Graph
from .interpret import run_float
from .parity import Certificate, enforce_parity
from .passes import optimize
from .pricing import EmulatedArtifact, emulate_artifact, measure_artifact, measured_note, price
from .provenance import input_digests, tool_versions
from .quantize import quantize
from .reference import dequantize_output, params, quantize_input, run_int8
from .request import ArtifactReport, CompileRequest, CompileResult, DistilReport, TargetRequest

CERTIFICATE = "certificate.json"
CARD = "card.md"
NUMERICS = "int8.v1"
GOLDEN_SAMPLES = 16

Progress = Callable[[str], None]
Floats = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Model:
    """The graph in both numerics, and its share of right answers on the validation split."""

    float_graph: Graph
    int8_graph: Graph
    accuracy_float: float
    accuracy_int8: float


@dataclass(frozen=True)
class _Build:
    """One artifact of one target with everything that is known about it."""

    target: Target
    artifact: EmittedArtifact
    emulated: EmulatedArtifact
    priced: Priced
    measured: Estimate | None


def silent(line: str) -> None:
    """The progress callback that says nothing."""


def compile_model(request: CompileRequest, progress: Progress = silent) -> CompileResult:
    """Compile, prove and judge a model; `progress` gets one plain line for each stage.

    Raises:
        CompileError: the request does not fit together.
        ImportModelError: the model cannot be read, or has an operator without a word.
        EmitError: a format cannot express the model.
        ParityError: two engines disagree beyond their bound.
        GateError: out of budget and no `force_reason`; lists every failure.
        UnsupportedOperatorError: a target has no cost for an operator.
    """
    _check_request(request)
    graph, distillation = _load(request, progress)
    model = _quantize(graph, request, progress)
    golden = samples_of(request.dataset, request.dataset.validation, GOLDEN_SAMPLES)
    artifacts = _emit(model, request, golden, progress)
    emulations = _emulate(artifacts, request, progress)
    progress("certify: the same samples through every engine")
    certificate = certify(
        model.float_graph, model.int8_graph, artifacts, emulations, _samples(request, model)
    )
    enforce_parity(certificate)
    builds, notes = _price(model, request, artifacts, emulations, progress)
    progress("gate: accuracy, latency, RAM and flash against the budgets")
    gate = enforce(_gate(model, request, builds), request.force_reason)
    manifest = _manifest(request, model, builds, gate)
    bundle_notes = (*certificate.missing, *notes)
    members = _members(request, model, builds, certificate, golden)
    members[CARD] = write_card(
        manifest, request.dataset.contract, certificate, request.dataset.name, bundle_notes
    )
    data = pack_bundle(manifest, members)
    return CompileResult(
        data=data,
        manifest=parse_bundle(data, request.name).manifest,
        members=members,
        certificate=certificate,
        artifacts=tuple(_report(build) for build in builds),
        distillation=distillation,
        notes=(*bundle_notes, *_measured_notes(builds)),
    )


def samples_of(dataset: Dataset, rows: Rows, limit: int) -> Floats:
    """At most `limit` raw samples (n, *input.shape) of a split, spread evenly over it."""
    if len(rows) <= limit:
        return dataset.x[rows]
    return dataset.x[rows[np.linspace(0, len(rows) - 1, limit).round().astype(np.int64)]]


def _check_request(request: CompileRequest) -> None:
    ids = [wanted.target.id for wanted in request.targets]
    if not ids:
        raise CompileError("a compile needs at least one target")
    if len(set(ids)) != len(ids):
        raise CompileError(f"each target can be named once, not {', '.join(ids)}")
    for wanted in request.targets:
        foreign = [fmt for fmt in wanted.formats if fmt not in wanted.target.formats]
        if foreign:
            raise CompileError(
                f"target '{wanted.target.id}' cannot run format '{foreign[0]}'; "
                f"it runs: {', '.join(wanted.target.formats)}"
            )
        effective_budget(wanted.target, wanted.budget)


def _formats(wanted: TargetRequest) -> tuple[str, ...]:
    return wanted.formats or wanted.target.formats


def _load(request: CompileRequest, progress: Progress) -> tuple[Graph, DistilReport | None]:
    """The float graph, and what distillation did to it."""
    model = request.model
    if isinstance(model, Path):
        return _load_program(model, request, progress)
    if request.teacher is not None:
        raise CompileError("only a .pt2 model can be distilled; leave the teacher out")
    progress("import: into the graph")
    if isinstance(model, Graph):
        return optimize(model), None
    from .importers.sklearn import import_sklearn

    shape = request.dataset.contract.input.shape
    return optimize(import_sklearn(model, shape, request.name)), None


def _load_program(
    path: Path, request: CompileRequest, progress: Progress
) -> tuple[Graph, DistilReport | None]:
    from .importers import import_model
    from .importers.torch_export import import_torch, load_program

    if request.teacher is None:
        progress(f"import: {path.name} into the graph")
        return optimize(import_model(path)), None
    for file in (path, request.teacher):
        if not file.is_file():
            raise ImportModelError(f"{file}: there is no such file")
    progress(f"distil: {request.distillation.epochs} epochs with {request.teacher.name}")
    done = distil(
        load_program(path),
        load_program(request.teacher),
        request.dataset,
        settings=request.distillation,
        seed=request.seed,
    )
    kept = "kept" if done.improved else "not kept"
    progress(
        f"distil: accuracy {done.before.accuracy:.4f} to {done.after.accuracy:.4f}, {kept} "
        f"(teacher {done.teacher.accuracy:.4f})"
    )
    report = DistilReport(done.before, done.after, done.teacher, done.improved)
    return optimize(import_torch(done.program, request.name)), report


def _quantize(graph: Graph, request: CompileRequest, progress: Progress) -> _Model:
    dataset = request.dataset
    progress(f"quantize: {len(dataset.train)} training samples set the ranges")
    _check_shapes(graph, dataset)
    quantized = quantize(graph, model_samples(graph, dataset, dataset.x[dataset.train]))
    x = model_samples(graph, dataset, dataset.x[dataset.validation])
    labels = dataset.y[dataset.validation]
    answers = run_int8(quantized, quantize_input(quantized, x))
    exact = float((run_float(graph, x).argmax(axis=1) == labels).mean())
    rounded = float((answers.argmax(axis=1) == labels).mean())
    progress(f"quantize: validation accuracy float {exact:.4f}, int8 {rounded:.4f}")
    return _Model(graph, quantized, exact, rounded)


def model_samples(graph: Graph, dataset: Dataset, raw: Floats) -> Floats:
    """Raw samples as the graph takes them: preprocessed, in its shape."""
    return dataset.contract.preprocess(raw).reshape(-1, *graph.input.shape[1:])


def _check_shapes(graph: Graph, dataset: Dataset) -> None:
    shape, spec = graph.input.shape[1:], dataset.contract.input
    if graph.input.elements != spec.elements:
        raise ImportModelError(
            f"the model takes samples of shape {shape}, the data set has {spec.shape}"
        )
    classes = len(dataset.contract.classes)
    if graph.output.shape[1:] != (classes,):
        raise ImportModelError(
            f"the model gives outputs of shape {graph.output.shape[1:]}, "
            f"the data set has {classes} classes"
        )


def _emit(
    model: _Model, request: CompileRequest, golden: Floats, progress: Progress
) -> Mapping[str, EmittedArtifact]:
    """Artifacts by format; every target gets the same bytes."""
    formats = dict.fromkeys(fmt for wanted in request.targets for fmt in _formats(wanted))
    graph = model.int8_graph
    quantized = quantize_input(graph, model_samples(graph, request.dataset, golden))
    artifacts = {fmt: emit_artifact(graph, fmt, quantized) for fmt in formats}
    sizes = ", ".join(f"{fmt} {artifact.nbytes} bytes" for fmt, artifact in artifacts.items())
    progress(f"emit: {sizes}")
    return artifacts


def _emulate(
    artifacts: Mapping[str, EmittedArtifact], request: CompileRequest, progress: Progress
) -> Mapping[str, EmulatedArtifact]:
    """Emulations of generated C by target id."""
    wanted = [w.target for w in request.targets if "c" in _formats(w)]
    found = {}
    for target in wanted:
        progress(f"emulate: generated C on {target.core}")
        found[target.id] = emulate_artifact(artifacts["c"], target)
    return found


def _samples(request: CompileRequest, model: _Model) -> Floats:
    """Every engine's samples: all of the validation split, up to the certificate's limit."""
    raw = samples_of(request.dataset, request.dataset.validation, PARITY_SAMPLES)
    return model_samples(model.int8_graph, request.dataset, raw)


def _price(
    model: _Model,
    request: CompileRequest,
    artifacts: Mapping[str, EmittedArtifact],
    emulations: Mapping[str, EmulatedArtifact],
    progress: Progress,
) -> tuple[tuple[_Build, ...], tuple[str, ...]]:
    """Every target's artifacts, in the order of the request, and notes on their prices."""
    progress("price: latency, RAM and flash on every target")
    sample = _samples(request, model)[0]
    builds: list[_Build] = []
    notes: list[str] = []
    for wanted in request.targets:
        budget = effective_budget(wanted.target, wanted.budget)
        for fmt in _formats(wanted):
            artifact = artifacts[fmt]
            emulated = emulations.get(wanted.target.id) if fmt == "c" else None
            emulated = emulated or EmulatedArtifact(None)
            cost, said = price(model.int8_graph, artifact, wanted.target, emulated)
            notes += said
            priced = Priced(wanted.target.id, fmt, cost, budget)
            measured = measure_artifact(artifact, wanted.target, sample)
            builds.append(_Build(wanted.target, artifact, emulated, priced, measured))
    return tuple(builds), tuple(notes)


def _gate(model: _Model, request: CompileRequest, builds: tuple[_Build, ...]) -> Gate:
    return check_gate(
        model.accuracy_float,
        model.accuracy_int8,
        request.limits,
        (build.priced for build in builds),
    )


def _manifest(
    request: CompileRequest, model: _Model, builds: tuple[_Build, ...], gate: Gate
) -> Manifest:
    """The manifest without its list of members, which packing fills in."""
    formats = dict.fromkeys(build.artifact.format for build in builds)
    lineage = request.lineage or Lineage(data_sha256="")
    return Manifest(
        name=request.name,
        members=(),
        artifacts=tuple(_artifact(build, model.accuracy_int8) for build in builds),
        accuracy_float=model.accuracy_float,
        accuracy_int8=model.accuracy_int8,
        gate=gate,
        lineage=msgspec.structs.replace(
            lineage, data_sha256=request.dataset.sha256, seed=request.seed
        ),
        inputs=input_digests(request, model.float_graph),
        tools=tool_versions(request, formats),
    )


def _artifact(build: _Build, accuracy: float) -> Artifact:
    cost = build.priced.footprint
    return Artifact(
        target=build.target.id,
        format=build.artifact.format,
        path=build.artifact.path(build.target.id),
        bytes=build.artifact.nbytes,
        sha256=build.artifact.sha256,
        numerics=NUMERICS,
        accuracy=accuracy,
        latency=record(cost.latency),
        ram=record(cost.ram),
        flash=record(cost.flash),
    )


def record(estimate: Estimate) -> EstimateRecord:
    """An estimate as the manifest writes it."""
    return EstimateRecord(
        value=float(estimate.value),
        low=float(estimate.low),
        high=float(estimate.high),
        unit=estimate.unit,
        tier=estimate.tier.name,
        evidence_id=estimate.evidence_id,
    )


def _members(
    request: CompileRequest,
    model: _Model,
    builds: tuple[_Build, ...],
    certificate: Certificate,
    golden: Floats,
) -> dict[str, bytes]:
    """Every member but the manifest and the card."""
    dataset, graph = request.dataset, model.int8_graph
    expected = run_int8(graph, quantize_input(graph, model_samples(graph, dataset, golden)))
    quant = params(graph, graph.outputs[0])
    members = {
        CONTRACT: msgspec.json.encode(dataset.contract, order="sorted"),
        GOLDEN: pack_golden(Golden(golden, expected, quant.scale[0], quant.zero_point[0])),
        REFERENCE: _reference(graph, dataset),
        CERTIFICATE: certificate.to_bytes(),
    }
    for build in builds:
        members |= build.artifact.members(build.target.id)
    return members


def _reference(graph: Graph, dataset: Dataset) -> bytes:
    """What the int8 model makes of its own training split, for drift detection."""
    raw = dataset.x[dataset.train]
    answers = run_int8(graph, quantize_input(graph, model_samples(graph, dataset, raw)))
    confidences = softmax(dequantize_output(graph, answers)).max(axis=1)
    classes = answers.argmax(axis=1).astype(np.int64)
    return build_reference(dataset.contract, raw, confidences, classes).to_bytes()


def _report(build: _Build) -> ArtifactReport:
    return ArtifactReport(
        target=build.target.id,
        format=build.artifact.format,
        bytes=build.artifact.nbytes,
        footprint=build.priced.footprint,
        measured=build.measured,
    )


def _measured_notes(builds: tuple[_Build, ...]) -> tuple[str, ...]:
    notes = (
        measured_note(
            f"{build.target.id}/{build.artifact.format}",
            build.priced.footprint.latency,
            build.measured,
            build.priced.budget,
        )
        for build in builds
    )
    return tuple(note for note in notes if note)

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
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.bundle import pack_bundle, parse_bundle
from edgekiln.runtime.manifest import Gate

from .artifacts import EmittedArtifact, emit_artifact
from .assemble import (
    GOLDEN_SAMPLES,
    Build,
    assemble,
    model_samples,
    report,
    samples_of,
)
from .calibration import check_calibration
from .certify import PARITY_SAMPLES, certify
from .data import Dataset
from .distil import distil
from .errors import CompileError, ImportModelError
from .gate import Priced, check_gate, effective_budget, enforce
from .graph import DType, Graph
from .interpret import run_float
from .parity import enforce_parity
from .passes import end_in_logits, optimize
from .pricing import EmulatedArtifact, emulate_artifact, measure_artifact, measured_note, price
from .quantize import quantize_by
from .recipe import DEFAULT_RECIPE, Recipe, check_recipe
from .reference import quantize_input, run_int8
from .request import (
    CompiledModel,
    CompileRequest,
    CompileResult,
    DistilReport,
    TargetRequest,
)
from .sensitivity import LayerSensitivity, measure_sensitivity

Progress = Callable[[str], None]
Floats = npt.NDArray[np.float32]


def silent(line: str) -> None:
    """The progress callback that says nothing."""


def compile_model(request: CompileRequest, progress: Progress = silent) -> CompileResult:
    """Compile, prove and judge a model; `progress` gets one plain line for each stage.

    Raises:
        CompileError: the request does not fit together.
        RecipeError: the recipe names a value or layer that the model does not have.
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
    bundle_notes = (*certificate.missing, *notes)
    draft = assemble(request, model, builds, gate, certificate, golden, bundle_notes)
    data = pack_bundle(draft.manifest, draft.members)
    return CompileResult(
        data=data,
        manifest=parse_bundle(data, request.name).manifest,
        members=draft.members,
        certificate=certificate,
        artifacts=tuple(report(build) for build in builds),
        distillation=distillation,
        model=model,
        notes=(*bundle_notes, *_calibration_notes(request.dataset), *_measured_notes(builds)),
    )


def sensitivity(dataset: Dataset, model: CompiledModel) -> tuple[LayerSensitivity, ...]:
    """What each layer's quantization alone costs on the training split, the worst first.

    Biases count as they were before any bias correction.
    """
    done = model.quantized
    return measure_sensitivity(done.float_graph, done.plan, _calibration(done.float_graph, dataset))


def check_model(path: Path, dataset: Dataset, recipe: Recipe = DEFAULT_RECIPE) -> None:
    """Hold a model file against data and recipe: all that can be refused in a second.

    Raises:
        ImportModelError: the file cannot be read, or its shapes are not those of the data.
        UnsupportedOpError: an operator that the graph has no word for.
        RecipeError: the recipe names a value or layer that the model does not have.
    """
    from .importers import import_model

    graph = optimize(end_in_logits(_float_only(import_model(path), path)))
    _check_shapes(graph, dataset)
    check_recipe(recipe, graph)


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
        return optimize(end_in_logits(_float_only(import_model(path), path))), None
    for file in (path, request.teacher):
        if file.suffix.lower() != ".pt2":
            raise CompileError(f"{file}: only a .pt2 model can be distilled or be a teacher")
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
    said = DistilReport(done.before, done.after, done.teacher, done.improved)
    return optimize(import_torch(done.program, request.name)), said


def _float_only(graph: Graph, path: Path) -> Graph:
    if graph.input.dtype is not DType.FLOAT32:
        raise ImportModelError(
            f"{path}: it is int8 already, and a compile begins with float32; give the model from "
            "before its quantization"
        )
    return graph


def _quantize(graph: Graph, request: CompileRequest, progress: Progress) -> CompiledModel:
    dataset = request.dataset
    progress(f"quantize: {len(dataset.train)} training samples set the ranges")
    _check_shapes(graph, dataset)
    done = quantize_by(graph, _calibration(graph, dataset), request.recipe)
    quantized = done.int8_graph
    x = model_samples(graph, dataset, dataset.x[dataset.validation])
    labels = dataset.y[dataset.validation]
    answers = run_int8(quantized, quantize_input(quantized, x))
    exact = float((run_float(graph, x).argmax(axis=1) == labels).mean())
    rounded = float((answers.argmax(axis=1) == labels).mean())
    progress(f"quantize: validation accuracy float {exact:.4f}, int8 {rounded:.4f}")
    return CompiledModel(graph, done, exact, rounded)


def _calibration(graph: Graph, dataset: Dataset) -> Floats:
    return model_samples(graph, dataset, dataset.x[dataset.train])


def _calibration_notes(dataset: Dataset) -> tuple[str, ...]:
    rows = dataset.train
    return check_calibration(dataset.x[rows], dataset.y[rows], dataset.contract)


def _check_shapes(graph: Graph, dataset: Dataset) -> None:
    shape, spec = graph.input.shape[1:], dataset.contract.input
    if graph.input.elements != spec.elements:
        raise ImportModelError(
            f"model '{graph.name}' takes samples of shape {shape}, data '{dataset.name}' has "
            f"samples of shape {spec.shape}; compile it with the data that it was trained on"
        )
    classes = len(dataset.contract.classes)
    if graph.output.shape[1:] != (classes,):
        raise ImportModelError(
            f"model '{graph.name}' gives outputs of shape {graph.output.shape[1:]}, "
            f"data '{dataset.name}' has {classes} classes"
        )


def _emit(
    model: CompiledModel, request: CompileRequest, golden: Floats, progress: Progress
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


def _samples(request: CompileRequest, model: CompiledModel) -> Floats:
    """Every engine's samples: all of the validation split, up to the certificate's limit."""
    raw = samples_of(request.dataset, request.dataset.validation, PARITY_SAMPLES)
    return model_samples(model.int8_graph, request.dataset, raw)


def _price(
    model: CompiledModel,
    request: CompileRequest,
    artifacts: Mapping[str, EmittedArtifact],
    emulations: Mapping[str, EmulatedArtifact],
    progress: Progress,
) -> tuple[tuple[Build, ...], tuple[str, ...]]:
    """Every target's artifacts, in the order of the request, and notes on their prices."""
    progress("price: latency, RAM and flash on every target")
    sample = _samples(request, model)[0]
    builds: list[Build] = []
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
            builds.append(Build(wanted.target, artifact, priced, measured))
    return tuple(builds), tuple(notes)


def _gate(model: CompiledModel, request: CompileRequest, builds: tuple[Build, ...]) -> Gate:
    return check_gate(
        model.accuracy_float,
        model.accuracy_int8,
        request.limits,
        (build.priced for build in builds),
    )


def _measured_notes(builds: tuple[Build, ...]) -> tuple[str, ...]:
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

"""`compile_model`: a trained model in, one proven bundle for named targets out.

distil → import → optimize → quantize → emit → emulate → price → certify → gate → pack. Every
stage is a function of the ones before it; nothing is written, and nothing comes out of a compile
that broke parity or the gate. A model that came quantized skips the first and the third stages.

Equal requests give equal bytes on one machine with one set of tools. The manifest therefore holds
estimates only: from the cost tables that came with the targets, and from emulation, which counts
and does not time. What is timed here and now is in `CompileResult.artifacts` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.bundle import pack_bundle, parse_bundle
from edgekiln.runtime.manifest import Gate

from .accuracy import EngineAccuracy, engine_accuracies, float_accuracy, reference_accuracy
from .artifacts import emit_artifact, kind_for
from .assemble import (
    GOLDEN_SAMPLES,
    Build,
    assemble,
    model_samples,
    report,
    samples_of,
)
from .builds import Artifacts, price_builds, wanted_formats
from .calibration import check_calibration
from .certify import PARITY_SAMPLES, certify
from .data import Dataset
from .errors import CompileError, ImportModelError, RecipeError
from .gate import check_gate, effective_budget, enforce
from .grammar import check
from .graph import Graph
from .input_schema import preprocessing_text
from .load_model import LoadedModel, load_file, load_model
from .near_base import Base
from .numerics import is_quantized, numerics_of
from .parity import enforce_parity
from .passes import Trace, untraced
from .pricing import EmulatedArtifact, emulate_artifact, measured_note
from .quantize import quantize_by
from .recipe import DEFAULT_RECIPE, Recipe, check_recipe, suited_recipe
from .reference import quantize_input
from .request import (
    CompiledModel,
    CompileRequest,
    CompileResult,
)
from .sensitivity import LayerSensitivity, measure_sensitivity
from .update import near_base, near_text, open_base, report_update, update_notes

CAME_QUANTIZED = "the model came quantized and is kept as it is, so it has no float accuracy"
FRAMES = (
    "the model remembers frames: each part of the data set was run as one recording, in its order; "
    "rows go to the parts by chance, so recordings have gaps and accuracy says little"
)

Progress = Callable[[str], None]
Floats = npt.NDArray[np.float32]


def silent(line: str) -> None:
    """The progress callback that says nothing."""


def compile_model(
    request: CompileRequest, progress: Progress = silent, trace: Trace = untraced
) -> CompileResult:
    """Compile, prove and judge a model.

    `progress` gets one plain line for each stage, `trace` the graph after each pass; the grammar
    is checked between them.

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
    base = open_base(request)
    loaded = load_model(request, progress, trace)
    model = _quantize(loaded, request, base, progress, trace)
    golden = samples_of(request.dataset, request.dataset.validation, GOLDEN_SAMPLES)
    artifacts = _emit(model, request, golden, progress, trace)
    emulations = _emulate(artifacts, request, progress)
    progress("price: latency, RAM and flash on every target")
    samples = _samples(request, model)
    builds, notes = price_builds(model.graph, request.targets, artifacts, emulations, samples[0])
    kept = {build.artifact.kind: build.artifact for build in builds}
    running_c = {build.target.id for build in builds if build.artifact.format == "c"}
    progress("certify: the same samples through every engine")
    certificate = certify(
        model.float_graph,
        model.graph,
        kept.values(),
        {name: item for name, item in emulations.items() if name in running_c},
        samples,
        model_samples(model.graph, request.dataset, golden),
    )
    enforce_parity(certificate)
    accuracies = _accuracies(model, request, kept, progress)
    progress("gate: accuracy, latency, RAM and flash against the budgets")
    gate = enforce(_gate(model, request, builds), request.force_reason)
    told = (*_origin_notes(model), *_chance_notes(request.dataset, model))
    bundle_notes = (*loaded.notes, *told, *certificate.missing, *notes)
    draft = assemble(request, model, builds, gate, certificate, accuracies, golden, bundle_notes)
    data = pack_bundle(draft.manifest, draft.members)
    update = report_update(base, model, data)
    return CompileResult(
        data=data,
        manifest=parse_bundle(data, request.name).manifest,
        members=draft.members,
        certificate=certificate,
        artifacts=tuple(report(build) for build in builds),
        distillation=loaded.distillation,
        model=model,
        accuracies=accuracies,
        notes=(
            *bundle_notes,
            *update_notes(update),
            *_calibration_notes(request, model),
            *_measured_notes(builds),
        ),
        update=update,
    )


def sensitivity(dataset: Dataset, model: CompiledModel) -> tuple[LayerSensitivity, ...]:
    """What each layer's quantization alone costs on the training split, the worst first.

    Biases count as they were before any bias correction.

    Raises:
        CompileError: the model came quantized: there is nothing to quantize layer by layer.
    """
    done = model.quantized
    if done is None:
        raise CompileError(f"no sensitivity of '{model.graph.name}': {CAME_QUANTIZED}")
    samples = model_samples(done.float_graph, dataset, dataset.x[dataset.train])
    return measure_sensitivity(done.float_graph, done.plan, samples)


def check_model(path: Path, dataset: Dataset, recipe: Recipe = DEFAULT_RECIPE) -> frozenset[str]:
    """Hold a model file against data and recipe: all that can be refused in a second.

    Gives the operators that the model has, for whoever prices them.

    Raises:
        ImportModelError: the file cannot be read, or its shapes are not those of the data.
        UnsupportedOpError: an operator that the graph has no word for.
        RecipeError: the recipe names a value or layer that the model does not have.
    """
    graph = load_file(path, dataset, untraced).graph
    _check_classes(graph, dataset)
    if not is_quantized(graph):
        check_recipe(recipe, graph)
    elif recipe != DEFAULT_RECIPE:
        raise RecipeError(f"{path}: {CAME_QUANTIZED}; compile it without a recipe")
    return frozenset(node.op.value for node in graph.nodes)


def _check_request(request: CompileRequest) -> None:
    ids = [wanted.target.id for wanted in request.targets]
    if not ids:
        raise CompileError("a compile needs at least one target")
    if len(set(ids)) != len(ids):
        raise CompileError(f"each target can be named once, not {', '.join(ids)}")
    for wanted in request.targets:
        foreign = [fmt for fmt in wanted.formats if fmt not in wanted.target.all_formats]
        if foreign:
            raise CompileError(
                f"target '{wanted.target.id}' cannot run format '{foreign[0]}'; "
                f"it runs: {', '.join(wanted.target.all_formats)}"
            )
        effective_budget(wanted.target, wanted.budget)


def _quantize(
    loaded: LoadedModel,
    request: CompileRequest,
    base: Base | None,
    progress: Progress,
    trace: Trace,
) -> CompiledModel:
    """The graph that is emitted, and what it is worth on the validation split."""
    dataset, graph = request.dataset, loaded.graph
    _check_classes(graph, dataset)
    x = model_samples(graph, dataset, dataset.x[dataset.validation])
    labels = dataset.y[dataset.validation]
    if is_quantized(graph):
        if base is not None:
            raise CompileError(f"'{graph.name}' cannot stay near a base: {CAME_QUANTIZED}")
        rounded = reference_accuracy(graph, x, labels)
        progress(f"quantize: {CAME_QUANTIZED}; validation accuracy {rounded:.4f}")
        return CompiledModel(graph, None, None, None, rounded)
    samples = _calibration(graph, request)
    progress(f"quantize: {len(samples)} {_origin(request)} samples set the ranges")
    recipe = suited_recipe(request.recipe, graph)
    if recipe != request.recipe:
        progress("quantize: trees compare features with thresholds, so they stay in float32")
    done = quantize_by(graph, samples, recipe)
    near = near_base(done, base, request, recipe, samples, x)
    if near is not None:
        progress(f"quantize: {near_text(near)}")
        done = near.quantized
    check(done.int8_graph)
    trace("quantize", done.int8_graph)
    exact = float_accuracy(graph, x, labels)
    rounded = reference_accuracy(done.int8_graph, x, labels)
    name = numerics_of(done.int8_graph).removesuffix(".v1")
    progress(f"quantize: validation accuracy float {exact:.4f}, {name} {rounded:.4f}")
    return CompiledModel(done.int8_graph, graph, done, exact, rounded, near)


def _origin(request: CompileRequest) -> str:
    return "training" if request.calibration is None else "calibration"


def _calibration(graph: Graph, request: CompileRequest) -> Floats:
    """The samples that set the ranges, as the graph takes them."""
    dataset, own = request.dataset, request.calibration
    raw = dataset.x[dataset.train] if own is None else own.x
    return model_samples(graph, dataset, raw)


def _calibration_notes(request: CompileRequest, model: CompiledModel) -> tuple[str, ...]:
    dataset, own = request.dataset, request.calibration
    if model.quantized is None:
        unused = ("the calibration samples were not used: the model came quantized",)
        return unused if own is not None else ()
    if own is None:
        rows = dataset.train
        return check_calibration(dataset.x[rows], dataset.y[rows], dataset.contract)
    return check_calibration(own.x, own.y, dataset.contract)


def _check_classes(graph: Graph, dataset: Dataset) -> None:
    classes = len(dataset.contract.classes)
    if graph.output.shape[1:] != (classes,):
        raise ImportModelError(
            f"model '{graph.name}' gives outputs of shape {graph.output.shape[1:]}, "
            f"data '{dataset.name}' has {classes} classes; give data with the classes that it was "
            "trained on, or end the model in one output for each class"
        )


def _emit(
    model: CompiledModel,
    request: CompileRequest,
    golden: Floats,
    progress: Progress,
    trace: Trace,
) -> Artifacts:
    """One artifact of each kind; targets of one kind get the same bytes."""
    kinds = dict.fromkeys(
        kind_for(wanted.target, fmt) for wanted in request.targets for fmt in wanted_formats(wanted)
    )
    graph = model.graph
    quantized = quantize_input(graph, model_samples(graph, request.dataset, golden))
    artifacts = {kind: emit_artifact(graph, kind, quantized, trace) for kind in kinds}
    sizes = ", ".join(f"{kind.title} {item.nbytes} bytes" for kind, item in artifacts.items())
    progress(f"emit: {sizes}")
    return artifacts


def _emulate(
    artifacts: Artifacts, request: CompileRequest, progress: Progress
) -> Mapping[str, EmulatedArtifact]:
    """Emulations of generated C by target id."""
    wanted = [w.target for w in request.targets if "c" in wanted_formats(w)]
    found = {}
    for target in wanted:
        if target.device_class == "mcu":
            progress(f"emulate: generated C on {target.core}")
        found[target.id] = emulate_artifact(artifacts[kind_for(target, "c")], target)
    return found


def _samples(request: CompileRequest, model: CompiledModel) -> Floats:
    """Every engine's samples: all of the validation split, up to the certificate's limit."""
    raw = samples_of(request.dataset, request.dataset.validation, PARITY_SAMPLES)
    return model_samples(model.graph, request.dataset, raw)


def _accuracies(
    model: CompiledModel,
    request: CompileRequest,
    artifacts: Artifacts,
    progress: Progress,
) -> tuple[EngineAccuracy, ...]:
    """Of each format on the validation split, in the engine that a device runs it in."""
    dataset, rows = request.dataset, request.dataset.validation
    x = model_samples(model.graph, dataset, dataset.x[rows])
    found = engine_accuracies(model.graph, artifacts.values(), x, dataset.y[rows])
    shown = [f"{row.format} {row.accuracy:.4f}" for row in found if row.accuracy is not None]
    if shown:
        progress(f"certify: validation accuracy {', '.join(shown)}")
    return found


def _chance_notes(dataset: Dataset, model: CompiledModel) -> tuple[str, ...]:
    """Where the model knows no more than the commonest class: it was not meant for these inputs."""
    found = model.accuracy if model.accuracy_float is None else model.accuracy_float
    y = dataset.y[dataset.validation]
    counts = np.bincount(y)
    chance = counts.max() / len(y)
    # Two standard errors of a share: what luck alone does.
    if found > chance + 2 * math.sqrt(chance * (1 - chance) / len(y)):
        return ()
    commonest = dataset.contract.classes[int(counts.argmax())]
    return (
        f"an accuracy of {found:.4f} is no better than always answering '{commonest}' "
        f"({chance:.4f}): the model may expect another preprocessing than "
        f"{preprocessing_text(dataset.contract.preprocessing)} ([contract] of edgekiln.toml, or "
        "--preprocessing), or another order of classes",
    )


def _origin_notes(model: CompiledModel) -> tuple[str, ...]:
    """How the model came to its numbers, quantized already or with layers in float32, and what its
    samples are."""
    said = (CAME_QUANTIZED,) if model.quantized is None else model.quantized.plan.notes
    return (*said, FRAMES) if model.graph.is_stream else said


def _gate(model: CompiledModel, request: CompileRequest, builds: tuple[Build, ...]) -> Gate:
    return check_gate(
        model.accuracy_float,
        model.accuracy,
        request.limits,
        (build.priced for build in builds),
        numerics_of(model.graph).removesuffix(".v1"),
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

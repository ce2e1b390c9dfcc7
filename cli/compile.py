"""`edgekiln compile`: a model in, a proven bundle out."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .calibrated import Calibrated, budget_of, load_targets, measured_hosts
from .compile_document import compile_document
from .console import common_options, debugging, need_extra, print_json, print_table, say
from .errors import ModelChoiceError, ProjectFileError
from .outputs import ready_bundle
from .project import (
    PREPROCESSING,
    Project,
    data_source,
    load_project,
    open_dataset,
    profile_folders,
)

if TYPE_CHECKING:
    from edgekiln.compiler.data import Dataset
    from edgekiln.compiler.graph import Graph
    from edgekiln.compiler.input_schema import Method
    from edgekiln.compiler.request import CompileResult, TargetRequest
    from edgekiln.compiler.sensitivity import LayerSensitivity
    from edgekiln.runtime.contract import Contract
    from edgekiln.runtime.manifest import Lineage
    from edgekiln.targets import Target

FORMATS = ("tflite", "onnx", "c")
_MODELS = "give a .pt2, .onnx, .tflite or .keras file, a SavedModel, or the folder of a search"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model to compile; a search result also brings its teacher and its lineage."""

    model: Path
    name: str
    teacher: Path | None = None
    lineage: Lineage | None = None
    contract: Contract | None = None  # that of a search


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_ids", multiple=True, help="Default: those of edgekiln.toml.")
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS))
@click.option("--data", "source", help="FILE.npz or sklearn:NAME. Default: edgekiln.toml.")
@click.option(
    "--preprocessing",
    type=click.Choice(PREPROCESSING),
    help="What the model was trained on. Default: [contract] of edgekiln.toml, else by the data.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="FILE.npz (x, optional y) that sets the ranges. Default: the training split.",
)
@click.option("--teacher", type=click.Path(path_type=Path), help="A larger .pt2 to distil from.")
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="TOML: how to quantize. Default: edgekiln.toml.",
)
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    help="BASE.ekb: stay near this release, so that devices with it fetch a small delta.",
)
@click.option(
    "--delta-budget-pt",
    "budget_pt",
    type=click.FloatRange(0, 100),
    default=0.0,
    help="With --base: points of validation accuracy that this may cost. Default: 0.",
)
@click.option("--sensitivity", "with_sensitivity", is_flag=True, help="Report layer by layer.")
@click.option("--name", help="Default: the model's.")
@click.option("--force", "force_reason", default="", help="Overrule the gate; kept on record.")
@click.option("--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="OUT.ekb")
@common_options
def compile_(
    model: Path,
    target_ids: tuple[str, ...],
    formats: tuple[str, ...],
    source: str | None,
    preprocessing: Method | None,
    calibration: Path | None,
    teacher: Path | None,
    recipe: Path | None,
    base: Path | None,
    budget_pt: float,
    with_sensitivity: bool,
    name: str | None,
    force_reason: str,
    project: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Distil, quantize, export and prove MODEL: a model file or the folder of a search.

    With --debug every pass says on stderr how many nodes it left.
    """
    need_extra("compile")
    from edgekiln.compiler.calibration_file import load_calibration
    from edgekiln.compiler.data import described
    from edgekiln.compiler.distil import DistilSettings
    from edgekiln.compiler.gate import AccuracyLimits
    from edgekiln.compiler.passes import untraced
    from edgekiln.compiler.pipeline import check_model, compile_model, sensitivity
    from edgekiln.compiler.recipe import DEFAULT_RECIPE, read_recipe
    from edgekiln.compiler.request import CompileRequest, UpdateRequest
    from edgekiln.targets import load_target

    started = time.monotonic()
    settings = load_project(project)
    recipe_file = recipe or settings.compile.recipe
    chosen_recipe = read_recipe(Path(recipe_file)) if recipe_file else DEFAULT_RECIPE
    ids = tuple(dict.fromkeys(target_ids or tuple(settings.targets) or ("host",)))
    profiles = profile_folders(project)
    targets = [load_target(target_id, profiles) for target_id in ids]
    _check_formats(targets, formats)
    chosen = _choose(model, ids, name, teacher)
    dataset = open_dataset(data_source(source, settings), settings, preprocessing)
    say(f"data: {described(dataset)}")
    _check_lineage(model, chosen, dataset)
    own = load_calibration(calibration, dataset.contract) if calibration else None
    ready_bundle(out)
    ops = check_model(chosen.model, dataset, chosen_recipe)
    known = _known(model, targets, ops, formats)
    for note in known.notes:
        say(note)
    request = CompileRequest(
        name=chosen.name,
        model=chosen.model,
        dataset=dataset,
        targets=_wanted(known, formats, settings),
        teacher=chosen.teacher,
        seed=settings.compile.seed,
        lineage=chosen.lineage,
        limits=AccuracyLimits(settings.compile.max_accuracy_drop, settings.compile.min_accuracy),
        distillation=DistilSettings(epochs=settings.compile.distil_epochs),
        force_reason=force_reason,
        recipe=chosen_recipe,
        calibration=own,
        update=UpdateRequest(base, budget_pt) if base else None,
    )
    result = compile_model(request, say, _say_pass if debugging() else untraced)
    result.write(out)
    say(f"wrote {out}, bundle {result.bundle_id[:12]}")
    for note in result.notes:
        say(note)
    layers = sensitivity(dataset, result.model) if with_sensitivity else ()
    if as_json:
        wall_s = time.monotonic() - started
        peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print_json(compile_document(out, result, layers, wall_s, peak_rss_mb))
        return
    _print(result)
    if layers:
        _print_sensitivity(layers)


def _say_pass(step: str, graph: Graph) -> None:
    kinds = Counter(node.op.value for node in graph.nodes)
    counts = ", ".join(f"{count} {op}" for op, count in kinds.most_common())
    say(f"  {step}: {len(graph.nodes)} nodes: {counts}")


def _check_formats(targets: Sequence[Target], formats: Sequence[str]) -> None:
    for target in targets:
        if formats and not set(formats) & set(target.all_formats):
            raise click.BadParameter(
                f"target '{target.id}' runs {', '.join(target.all_formats)}, "
                f"and --format {', '.join(formats)} leaves none of them"
            )


def _check_lineage(model: Path, chosen: Chosen, dataset: Dataset) -> None:
    if chosen.lineage is not None and chosen.lineage.data_sha256 != dataset.sha256:
        raise ProjectFileError(
            f"{model} was searched on other data than '{dataset.name}'; give the data of the "
            "search with --data, or search again"
        )
    if chosen.contract is not None and chosen.contract != dataset.contract:
        raise ProjectFileError(
            f"{model} was searched with '{dataset.name}' prepared in another way; give the "
            "[contract], --preprocessing and [data] seed of the search, or search again"
        )


def _choose(
    model: Path, target_ids: Sequence[str], name: str | None, teacher: Path | None
) -> Chosen:
    """A search folder's chosen candidate for the target, else the file itself."""
    chosen = (
        _chosen_of_search(model, target_ids)
        if (model / "search.json").is_file()
        else Chosen(_model_file(model), model.stem)
    )
    if teacher is not None:
        chosen = dataclasses.replace(chosen, teacher=_model_file(teacher))
    return dataclasses.replace(chosen, name=name or chosen.name)


def _model_file(path: Path) -> Path:
    """`path`, once it is certain that it can be a model.

    Raises:
        ModelChoiceError: it is missing, a folder, or of no known format.
    """
    from edgekiln.compiler.importers import MODEL_SUFFIXES
    from edgekiln.compiler.importers.keras import is_saved_model

    if is_saved_model(path):
        return path
    if (path / "ledger.jsonl").is_file():
        raise ModelChoiceError(f"{path}: this search did not end; run it again and it goes on")
    if path.is_dir():
        raise ModelChoiceError(f"{path}: a folder without search.json; {_MODELS}")
    if not path.exists():
        raise ModelChoiceError(f"{path}: no such file; {_MODELS}")
    if path.suffix.lower() not in MODEL_SUFFIXES:
        raise ModelChoiceError(f"{path}: unknown model format '{path.suffix}'; {_MODELS}")
    return path


def _chosen_of_search(model: Path, target_ids: Sequence[str]) -> Chosen:
    from edgekiln.runtime.manifest import Lineage
    from edgekiln.search.result import FrontMember, read_result

    result = read_result(model / "search.json")
    chosen: set[FrontMember] = set()
    for target_id in target_ids:
        try:
            front = result.front(target_id)
        except KeyError as error:
            raise ModelChoiceError(
                f"{model} has no front for '{target_id}'; search again with --target {target_id}"
            ) from error
        chosen.update(m for m in front.members if m.candidate_id == front.chosen)
        if front.chosen is None:
            raise ModelChoiceError(
                f"{model} has no trained candidate for '{target_id}'; run the search again with "
                "more time or another budget"
            )
    ids = {member.candidate_id for member in chosen}
    if len(ids) != 1:
        raise ModelChoiceError(
            f"{model} chose {len(ids)} candidates for {', '.join(target_ids)}; "
            "compile one target at a time with --target"
        )
    member = chosen.pop()
    return Chosen(
        model / member.path,
        f"{result.dataset}-{member.candidate_id}",
        model / result.teacher.path if result.teacher is not None else None,
        Lineage(
            data_sha256=result.data_sha256,
            search_id=result.search_id,
            candidate_id=member.candidate_id,
            seed=result.seed,
        ),
        result.contract,
    )


def _known(
    model: Path, targets: Sequence[Target], ops: Collection[str], formats: Collection[str]
) -> Calibrated:
    """The numbers that the search used, and the best that can be had now of what it did not."""
    kept = load_targets(model) if model.is_dir() else None
    if kept is not None:
        by_profile = {(target.id, target.digest): target for target in kept.targets}
        if all((target.id, target.digest) in by_profile for target in targets):
            targets = [by_profile[target.id, target.digest] for target in targets]
            return Calibrated(measured_hosts(targets, say, ops, formats), kept.notes)
    return Calibrated(measured_hosts(targets, say, ops, formats), ())


def _wanted(
    known: Calibrated, formats: Sequence[str], settings: Project
) -> tuple[TargetRequest, ...]:
    from edgekiln.compiler.request import TargetRequest

    return tuple(
        TargetRequest(
            target,
            tuple(fmt for fmt in formats if fmt in target.all_formats),
            budget_of(settings, target.id),
        )
        for target in known.targets
    )


def _print(result: CompileResult) -> None:
    from edgekiln.compiler.card import accuracy_text

    rows = []
    for item in result.artifacts:
        latency = item.measured or item.footprint.latency
        rows.append(
            (
                item.target,
                item.format,
                f"{item.bytes:,}",
                f"{latency.value:.3g} ms (≤ {latency.high:.3g})" if latency else "not known",
                f"{latency.tier.word} {latency.tier.name}" if latency else "",
                f"{item.footprint.ram.high:,.0f}",
                f"{item.footprint.flash.high:,.0f}",
            )
        )
    columns = ("target", "format", "bytes", "latency", "evidence", "RAM bytes", "flash bytes")
    print_table("Artifacts", columns, rows)
    manifest = result.manifest
    measured = "".join(
        f", {row.format} {row.accuracy:.4f}"
        for row in result.accuracies
        if row.accuracy is not None
    )
    print(f"accuracy: {accuracy_text(manifest)}{measured}")
    engines = [
        (
            row.engine,
            row.form,
            row.distance,
            f"{row.label_flips} of {row.samples}",
            row.bound,
            "ok" if row.passed else "BROKEN",
        )
        for row in result.certificate.engines
    ]
    heads = ("engine", "format", "largest difference", "label flips", "bound", "verdict")
    print_table("Certificate: against the numpy reference", heads, engines)
    for check in manifest.gate.checks:
        print(f"gate: {check.message}")


def _print_sensitivity(layers: Sequence[LayerSensitivity]) -> None:
    rows = [
        (
            layer.layer,
            layer.op,
            f"{layer.mse:.3g}",
            f"{layer.sqnr_db:.1f} dB",
            f"{layer.label_flips} of {layer.samples}",
        )
        for layer in layers
    ]
    heads = ("layer", "operator", "logit MSE", "SQNR", "label flips")
    print_table("Sensitivity: one layer quantized at a time", heads, rows)

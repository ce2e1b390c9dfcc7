"""`measure_c`: generated C on the emulated core of a target: what each layer costs, and the whole.

Instructions are counted and exact; cycles are these times the cycles per instruction of the
target's profile, an estimate with an interval. The C is a folder, the C artifact of a bundle, or
made here from an int8 .tflite with the kernels that are fastest on the core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.targets.emulate import Emulation
from edgekiln.targets.emulate_profile import FolderCounts, measure_folder
from edgekiln.targets.evidence import Tier
from edgekiln.targets.target import Target

from .c_layouts import gather
from .c_report import (
    CFigures,
    Cycles,
    Files,
    counted_figures,
    cycles_of,
    golden_outputs,
    named_calls,
)
from .emit_c import emit_c
from .emit_c_family import family_of_core
from .emit_c_sources import main_file
from .errors import EmitError, ImportModelError
from .graph import Array, Graph
from .importers.tflite import import_tflite
from .oracles import write_files
from .reference import quantize_input

SAMPLES = 4  # golden inputs of a .tflite, which brings none
_SEED = 0


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """A function without its callees, mean of the golden vectors."""

    function: str
    instructions: int
    cycles_estimated: Cycles | None


@dataclass(frozen=True, slots=True)
class CReport(CFigures):
    """Generated C on one emulated core.

    `evidence` is "emulated"; `ram_static_bytes` holds the arena. `notes` say what could not be
    told, and why.
    """

    target: str
    core: str
    evidence: str
    ram_static_bytes: int
    per_function: tuple[FunctionCost, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """A run of generated C: what it costs, and the outputs that it gave."""

    report: CReport
    emulation: Emulation


def measure_c(path: Path, target: Target) -> CReport:
    """Measure a folder of generated C, an int8 `.tflite` or an `.ekb` on the core of `target`.

    Raises:
        ImportModelError: `path` is none of these.
        EmitError: the model cannot be written as C, or a folder lacks golden vectors.
        BundleError: the bundle is damaged.
        MissingToolError: compiler or emulator is absent; says what to install.
        MeasurementError: the core has no emulated board, or the build or the run failed.
    """
    return measure_files(_files(path, target), str(path), target).report


def measure_files(files: Files, source: str, target: Target) -> Measured:
    """Measure generated C, files by name; `source` names them in messages.

    Raises:
        EmitError: there are no golden vectors.
        MissingToolError: compiler or emulator is absent; says what to install.
        MeasurementError: the core has no emulated board, or the build or the run failed.
    """
    if not golden_outputs(files):
        raise EmitError(f"{source}: no golden_outputs in golden.h; give a folder of generated C")
    with tempfile.TemporaryDirectory(prefix="edgekiln-measure-") as name:
        counts = measure_folder(write_files(files, Path(name)), target)
    return Measured(_report(files, counts, target), counts.emulation)


def _files(path: Path, target: Target) -> Mapping[str, bytes]:
    if path.is_dir():
        files = {file.name: file.read_bytes() for file in gather(path)}
        return {"main.c": main_file(), **files}  # a sketch stands for it on Arduino
    if path.suffix == ".ekb":
        return _of_bundle(open_bundle(path), target)
    if path.suffix != ".tflite":
        raise ImportModelError(
            f"{path}: give a folder of generated C, an int8 .tflite file or a bundle (.ekb)"
        )
    if not path.is_file():
        raise ImportModelError(f"{path}: there is no such file")
    graph = import_tflite(path.read_bytes(), path.stem)
    rng = np.random.default_rng(_SEED)
    golden = rng.integers(-128, 128, (SAMPLES, *graph.input.shape[1:])).astype(np.int8)
    return _emit(graph, golden, target)


def _of_bundle(bundle: Bundle, target: Target) -> Mapping[str, bytes]:
    """The target's own C, else C that is made from a .tflite artifact."""
    artifacts = bundle.manifest.artifacts
    for artifact in artifacts:
        if (artifact.format, artifact.target) == ("c", target.id):
            return bundle.below(artifact.path)
    for artifact in artifacts:
        if artifact.format == "tflite":
            graph = import_tflite(bundle.read(artifact.path), bundle.manifest.name)
            x = bundle.contract.preprocess(bundle.contract.check(bundle.golden().inputs))
            golden = quantize_input(graph, x.reshape(-1, *graph.input.shape[1:]))
            return _emit(graph, golden, target)
    raise EmitError(
        f"{bundle.source}: neither C for '{target.id}' nor a .tflite to make it from; compile "
        f"with --target {target.id} --format c"
    )


def _emit(graph: Graph, golden: Array, target: Target) -> Mapping[str, bytes]:
    return emit_c(graph, golden, family_of_core(target.core)).files


def _report(files: Files, counts: FolderCounts, target: Target) -> CReport:
    figures = counted_figures(files, counts, target)
    return CReport(
        **{field.name: getattr(figures, field.name) for field in fields(CFigures)},
        target=target.id,
        core=target.core,
        evidence=Tier.T2.word,
        ram_static_bytes=counts.emulation.ram_bytes,
        per_function=tuple(
            FunctionCost(found.name, found.instructions, cycles_of(found.instructions, target))
            for found in counts.functions
        ),
        notes=tuple(_notes(figures, counts, len(named_calls(files)), target)),
    )


def _notes(figures: CFigures, counts: FolderCounts, named: int, target: Target) -> Iterator[str]:
    if named != len(counts.calls):
        yield (
            f"model_invoke makes {len(counts.calls)} calls and model.c names {named} layers; "
            "layers are not told apart"
        )
    if None in (figures.arena_bytes, figures.scratch_bytes, figures.lower_bound_arena_bytes):
        yield "model.h does not state the sizes of arena and scratch; generate the C again"
    if target.cycles_per_instruction is None:
        yield f"target '{target.id}' states no cycles_per_instruction; cycles are not known"

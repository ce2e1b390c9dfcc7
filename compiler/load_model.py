"""The model of a request as a graph: imported, distilled where a teacher is given, optimized.

A model that came quantized keeps every number it came with: it is neither optimized nor quantized
again, and only a softmax at its very end is left out, because the runtime turns logits into shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .data import Dataset
from .distil import distil
from .errors import CompileError, ImportModelError
from .grammar import check
from .graph import Graph
from .input_order import fit_input
from .numerics import is_quantized
from .passes import Trace, end_in_logits, optimize
from .request import CompileRequest, DistilReport

Progress = Callable[[str], None]


@dataclass(frozen=True)
class LoadedModel:
    """The graph: float32 and optimized, or quantized already; `notes` say what import changed."""

    graph: Graph
    distillation: DistilReport | None = None
    notes: tuple[str, ...] = ()


def load_model(request: CompileRequest, progress: Progress, trace: Trace) -> LoadedModel:
    """The graph of the request's model.

    Raises:
        CompileError: a teacher for a model that cannot be distilled.
        ImportModelError: the model cannot be read, or has an operator without a word.
    """
    model = request.model
    if isinstance(model, Path):
        if request.teacher is not None:
            return _distilled(model, request.teacher, request, progress, trace)
        progress(f"import: {model.name} into the graph")
        return load_file(model, request.dataset, trace)
    if request.teacher is not None:
        raise CompileError("only a .pt2 model can be distilled; leave the teacher out")
    progress("import: into the graph")
    shape = request.dataset.contract.input.shape
    if isinstance(model, Graph):
        return LoadedModel(_ready(fit_input(model, None, shape, request.dataset.name), trace))
    from .importers.sklearn import import_sklearn

    return LoadedModel(_ready(import_sklearn(model, shape, request.name), trace))


def load_file(path: Path, dataset: Dataset, trace: Trace) -> LoadedModel:
    """The graph of a model file for samples of `dataset`, optimized unless it came quantized.

    Raises:
        ImportModelError: the file cannot be read, or takes samples of another shape.
        UnsupportedOpError: an operator that the graph has no word for.
    """
    from .importers import import_with_notes

    imported = import_with_notes(path)
    trace("import", imported.graph)
    shape = dataset.contract.input.shape
    fitting = fit_input(imported.graph, imported.port, shape, dataset.name)
    graph = end_in_logits(fitting)
    check(graph)
    trace("end in logits", graph)
    return LoadedModel(_ready(graph, trace), notes=imported.notes)


def _ready(graph: Graph, trace: Trace) -> Graph:
    return graph if is_quantized(graph) else optimize(graph, trace)


def _distilled(
    path: Path, teacher: Path, request: CompileRequest, progress: Progress, trace: Trace
) -> LoadedModel:
    from .importers.torch_export import import_logits, load_program

    for file in (path, teacher):
        if file.suffix.lower() != ".pt2":
            raise CompileError(f"{file}: only a .pt2 model can be distilled or be a teacher")
        if not file.is_file():
            raise ImportModelError(f"{file}: there is no such file")
    progress(f"distil: {request.distillation.epochs} epochs with {teacher.name}")
    done = distil(
        load_program(path),
        load_program(teacher),
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
    imported = import_logits(done.program, request.name)
    shape = request.dataset.contract.input.shape
    graph = fit_input(imported.graph, imported.inputs[0], shape, request.dataset.name)
    return LoadedModel(optimize(graph, trace), said)

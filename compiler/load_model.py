"""The model of a request as a graph: imported, distilled where a teacher is given, optimized.

A model that came quantized keeps every number it came with: it is neither optimized nor quantized
again, and only a softmax at its very end is left out, because the runtime turns logits into shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .distil import distil
from .errors import CompileError, ImportModelError
from .grammar import check
from .graph import Graph
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
        return load_file(model, trace)
    if request.teacher is not None:
        raise CompileError("only a .pt2 model can be distilled; leave the teacher out")
    progress("import: into the graph")
    if isinstance(model, Graph):
        return LoadedModel(_ready(model, trace))
    from .importers.sklearn import import_sklearn

    shape = request.dataset.contract.input.shape
    return LoadedModel(_ready(import_sklearn(model, shape, request.name), trace))


def load_file(path: Path, trace: Trace) -> LoadedModel:
    """The graph of a model file, optimized unless it came quantized."""
    from .importers import import_with_notes

    imported = import_with_notes(path)
    trace("import", imported.graph)
    graph = end_in_logits(imported.graph)
    check(graph)
    trace("end in logits", graph)
    return LoadedModel(_ready(graph, trace), notes=imported.notes)


def _ready(graph: Graph, trace: Trace) -> Graph:
    return graph if is_quantized(graph) else optimize(graph, trace)


def _distilled(
    path: Path, teacher: Path, request: CompileRequest, progress: Progress, trace: Trace
) -> LoadedModel:
    from .importers.torch_export import import_torch, load_program

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
    return LoadedModel(optimize(import_torch(done.program, request.name), trace), said)

"""Importers: a model of a framework in, a graph out. Layout is solved here, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImportModelError
from ..graph import Graph
from .layout.ports import Port

__all__ = ["MODEL_SUFFIXES", "Imported", "import_model", "import_with_notes"]

_LARGEST_FILE = 1 << 30  # bytes


@dataclass(frozen=True)
class Imported:
    """A graph, and sentences about what had to be changed on its way from the file."""

    graph: Graph
    notes: tuple[str, ...] = ()
    port: Port | None = None  # how the input lies in the graph, where importing may move its axes


def import_model(path: Path) -> Graph:
    """The graph of `import_with_notes`."""
    return import_with_notes(path).graph


def import_with_notes(path: Path) -> Imported:
    """The graph of a model file, named after it, and what the user should know about it.

    Formats: `.pt2` (`torch.export.save`) and `.onnx`, float32; `.tflite`, float32 or int8, as the
    file is; `.keras` and SavedModel folders, float32, with the extra `keras`.

    Raises ImportModelError for a missing or unreadable file and an unknown format, and
    UnsupportedOpError for an operator that the graph has no word for.
    """
    if path.is_dir():
        return _import_folder(path)
    importer = _IMPORTERS.get(path.suffix.lower())
    if importer is None:
        raise ImportModelError(
            f"{path}: unknown model format '{path.suffix}'; give a .pt2 file from "
            "torch.export.save, a .onnx, a .tflite or a .keras file"
        )
    if not path.is_file():
        raise ImportModelError(f"{path}: there is no such file")
    return importer(path)


def _import_program(path: Path) -> Imported:
    from .torch_export import import_logits, load_program

    imported = import_logits(load_program(path), path.stem)
    return Imported(imported.graph, imported.notes, imported.inputs[0])


def _import_onnx(path: Path) -> Imported:
    from .onnx import import_onnx

    imported = import_onnx(path, path.stem)
    if len(imported.inputs) != 1 or len(imported.outputs) != 1:
        raise ImportModelError(
            f"{path}: it has {len(imported.inputs)} inputs and {len(imported.outputs)} outputs; "
            "models with one of each are supported"
        )
    return Imported(imported.graph, imported.notes, imported.inputs[0])


def _import_tflite(path: Path) -> Imported:
    from .tflite import read_model

    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ImportModelError(f"{path}: {size} bytes; files up to 1 GiB are supported")
        data = path.read_bytes()
    except OSError as error:
        raise ImportModelError(f"{path}: cannot read it: {error.strerror}") from error
    model = read_model(data, path.stem)
    return Imported(model.graph, model.notes)


def _import_keras(path: Path) -> Imported:
    from .keras import import_keras

    return Imported(import_keras(path))


def _import_folder(path: Path) -> Imported:
    from .keras import import_keras, is_saved_model

    if not is_saved_model(path):
        raise ImportModelError(
            f"{path}: a folder that is no SavedModel (it holds no saved_model.pb)"
        )
    return Imported(import_keras(path))


_IMPORTERS: Mapping[str, Callable[[Path], Imported]] = {
    ".pt2": _import_program,
    ".onnx": _import_onnx,
    ".tflite": _import_tflite,
    ".keras": _import_keras,
}
MODEL_SUFFIXES = tuple(_IMPORTERS)

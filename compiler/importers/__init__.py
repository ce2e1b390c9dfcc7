"""Importers: a model of a framework in, a float32 graph out. Layout is solved here, once."""

from __future__ import annotations

from pathlib import Path

from ..errors import ImportModelError
from ..graph import Graph

__all__ = ["import_model"]


def import_model(path: Path) -> Graph:
    """The graph of a model file, named after it; formats: `.pt2` (`torch.export.save`).

    Raises ImportModelError for a missing or unreadable file and an unknown format, and
    UnsupportedOpError for an operator that the graph has no word for.
    """
    if path.suffix.lower() != ".pt2":
        raise ImportModelError(
            f"{path}: unknown model format '{path.suffix}'; give a .pt2 file from torch.export.save"
        )
    if not path.is_file():
        raise ImportModelError(f"{path}: there is no such file")
    from .torch_export import import_torch, load_program

    return import_torch(load_program(path), path.stem)

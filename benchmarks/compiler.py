"""The compiler's figures: exactness, accuracy, importing, time and memory, equal bytes, hostility.

Each part is a benchmark of its own that can be run by its name; this one runs them in a row.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator

from .figure import Figure, Scale

PARTS = (
    ("layers", "tflite_layers"),  # MLPerf Tiny in int8 against LiteRT, every layer, every byte
    ("quantization", "quantization"),  # what each recipe keeps of the accuracy
    ("ONNX nodes", "onnx_nodes"),  # the standard's own test cases
    ("compile", "compile_models"),  # seconds, memory and bytes of whole compiles
    ("mutants", "mutants"),  # hostile files
)


def run(scale: Scale) -> Iterator[Figure]:
    """All parts; a figure's name begins with its part's."""
    for title, module in PARTS:
        for figure in importlib.import_module(f".{module}", __package__).run(scale):
            yield dataclasses.replace(figure, name=f"{title}: {figure.name}")

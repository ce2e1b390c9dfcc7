"""A model in, proven artifacts for named targets out.

import_model → optimize → quantize → emit_tflite, emit_onnx; run_float and run_int8 say what a
graph means. Every step takes and returns an immutable `Graph`.
"""

from __future__ import annotations

from .emit_onnx import emit_onnx
from .emit_tflite import emit_tflite
from .errors import CompileError
from .graph import Graph
from .importers import import_model
from .interpret import run_float
from .passes import optimize
from .quantize import quantize
from .reference import run_int8
from .workload import workload

__all__ = [
    "CompileError",
    "Graph",
    "emit_onnx",
    "emit_tflite",
    "import_model",
    "optimize",
    "quantize",
    "run_float",
    "run_int8",
    "workload",
]

"""The room's front door: its names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import edgekiln.compiler


def test_facade_offers_these_names_when_imported() -> None:
    assert edgekiln.compiler.__all__ == sorted(edgekiln.compiler.__all__)
    for name in ("import_model", "optimize", "quantize", "emit_tflite", "emit_onnx", "run_int8"):
        assert callable(getattr(edgekiln.compiler, name))


def test_facade_loads_no_framework_when_imported() -> None:
    code = (
        "import sys, edgekiln.compiler;"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'sklearn', 'scipy', 'ai_edge_litert'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Keras models: converted to a float TensorFlow Lite file by TensorFlow, in a process of its own.

TensorFlow is an optional extra, and larger than everything else together: it is started, used for
one conversion and gone. What it leaves is read by the TensorFlow Lite importer.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import ImportModelError
from ..graph import Graph
from .tflite import import_tflite

_LONGEST = 600  # seconds; a start of TensorFlow alone can take ten
_SAVED_MODEL = "saved_model.pb"


def is_saved_model(path: Path) -> bool:
    """Whether `path` is a folder that `model.export` or `tf.saved_model.save` wrote."""
    return (path / _SAVED_MODEL).is_file()


def import_keras(path: Path) -> Graph:
    """The float32 graph of a `.keras` file or a SavedModel folder, named after it.

    Raises ImportModelError where TensorFlow is not installed or cannot convert the model, and
    UnsupportedOpError for an operator that the graph has no word for. Code in a `.keras` file (a
    Lambda layer's) is never run.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportModelError(
            f"{path}: it needs TensorFlow; install it with: pip install 'edgekiln[keras]', "
            "or convert the model to a .tflite file elsewhere"
        )
    return import_tflite(_converted(path), path.stem)


def _converted(path: Path) -> bytes:
    """The bytes of the TensorFlow Lite file."""
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "model.tflite"
        command = [sys.executable, "-m", "edgekiln.compiler.importers.keras_convert"]
        try:
            subprocess.run(
                [*command, str(path), str(result)],
                env=os.environ | quiet,
                capture_output=True,
                text=True,
                check=True,
                timeout=_LONGEST,
            )
            return result.read_bytes()
        except subprocess.TimeoutExpired as error:
            raise ImportModelError(
                f"{path}: TensorFlow took over {_LONGEST} s to convert it; convert it to a .tflite "
                "file elsewhere"
            ) from error
        except (subprocess.CalledProcessError, OSError) as error:
            raise ImportModelError(
                f"{path}: TensorFlow cannot convert it ({_reason(error)}); save it again with "
                "model.save('model.keras'), without custom layers"
            ) from error


def _reason(error: subprocess.CalledProcessError | OSError) -> str:
    """The last line that the child wrote, which names what went wrong."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    lines = [line.strip() for line in str(error.stderr).splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {error.returncode}"

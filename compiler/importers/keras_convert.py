"""The child process of `keras`: `python -m … MODEL FILE` writes a float TensorFlow Lite file.

It alone imports TensorFlow. Models are traced for a batch of 1: a free one would leave arithmetic
about shapes in the file. On failure the last line on stderr says why, and it exits 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(model: Path, file: Path) -> int:
    """Convert `model`, a `.keras` file or a SavedModel folder, with one input and one output."""
    try:
        file.write_bytes(_saved_model(model) if model.is_dir() else _keras_file(model))
    except Exception as error:  # whatever TensorFlow raises becomes the parent's one line
        first = str(error).strip().splitlines()[:1] or [""]
        print(f"{type(error).__name__}: {first[0]}", file=sys.stderr)
        return 1
    return 0


def _keras_file(path: Path) -> bytes:
    import tensorflow

    model = tensorflow.keras.models.load_model(path, compile=False, safe_mode=True)
    (entry,) = model.inputs
    return _converted(lambda x: model(x, training=False), entry)


def _saved_model(path: Path) -> bytes:
    import tensorflow

    model = tensorflow.saved_model.load(str(path))
    serving = model.signatures["serving_default"]
    ((name, entry),) = serving.structured_input_signature[1].items()
    return _converted(lambda x: serving(**{name: x}), entry)


def _converted(function: Callable[[Any], Any], entry: Any) -> bytes:
    """The file of `function` for one sample of the shape of `entry`, weights as constants."""
    import tensorflow
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    spec = tensorflow.TensorSpec([1, *entry.shape[1:]], entry.dtype, name="input")
    traced = tensorflow.function(function).get_concrete_function(spec)
    frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    data: bytes = tensorflow.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    return data


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

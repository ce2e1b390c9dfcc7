"""The child process of `keras`: `python -m … MODEL FILE` writes a float TensorFlow Lite file.

It alone imports TensorFlow. On failure its last line on stderr says why, and it exits 1.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(model: Path, file: Path) -> int:
    """Convert `model`, a `.keras` file or a SavedModel folder, for a batch of any size."""
    import tensorflow

    try:
        if model.is_dir():
            converter = tensorflow.lite.TFLiteConverter.from_saved_model(str(model))
        else:
            loaded = tensorflow.keras.models.load_model(model, compile=False, safe_mode=True)
            converter = tensorflow.lite.TFLiteConverter.from_keras_model(loaded)
        file.write_bytes(converter.convert())
    except Exception as error:  # whatever TensorFlow raises becomes the parent's one line
        first = str(error).strip().splitlines()[:1] or [""]
        print(f"{type(error).__name__}: {first[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

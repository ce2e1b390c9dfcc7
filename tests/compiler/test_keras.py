"""Keras models go through TensorFlow's converter where it is installed, else end in one line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.errors import ImportModelError
from edgekiln.compiler.importers import import_model, keras
from edgekiln.compiler.interpret import run_float
from edgekiln.compiler.passes import optimize


def without_tensorflow(name: str) -> None:
    assert name == "tensorflow"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_import_model_names_the_extra_when_tensorflow_is_missing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without_tensorflow)
    path = tmp_path / ("model.keras" if kind == "file" else "saved")
    if kind == "file":
        path.write_bytes(b"anything")
    else:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"anything")
    with pytest.raises(ImportModelError, match=r"pip install 'edgekiln\[keras\]'") as error:
        import_model(path)
    assert "\n" not in str(error.value)


def test_import_keras_gives_the_childs_last_line_when_conversion_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **options: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="noise\nValueError: no such layer\n")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(ImportModelError, match=r"\(ValueError: no such layer\); save it again"):
        keras.import_keras(tmp_path / "model.keras")


_MAKE = """
import sys
import keras, numpy
keras.utils.set_random_seed(3)
model = keras.Sequential([
    keras.layers.Input((8, 8, 2)),
    keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
    keras.layers.BatchNormalization(),
    keras.layers.DepthwiseConv2D(3),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(5, activation="gelu"),
    keras.layers.Dense(3),
])
model.save(sys.argv[1] + "/net.keras")
model.export(sys.argv[1] + "/saved", verbose=False)
x = numpy.random.default_rng(1).normal(size=(4, 8, 8, 2)).astype("float32")
numpy.savez(sys.argv[1] + "/io.npz", x=x, y=model(x).numpy())
"""


# TensorFlow is larger than all else together, and no extra of the tests brings it: what follows is
# there for those who have installed edgekiln[keras].
if importlib.util.find_spec("tensorflow") is not None:

    @pytest.mark.slow
    def test_import_model_computes_what_keras_does_when_tensorflow_is_installed(
        tmp_path: Path,
    ) -> None:
        subprocess.run(
            [sys.executable, "-c", _MAKE, str(tmp_path)], check=True, capture_output=True
        )
        pairs = np.load(tmp_path / "io.npz")
        for path in (tmp_path / "net.keras", tmp_path / "saved"):
            graph = optimize(import_model(path))
            assert graph.input.shape == (1, 8, 8, 2)
            assert np.abs(run_float(graph, pairs["x"]) - pairs["y"]).max() <= 1e-5

    @pytest.mark.slow
    def test_import_model_raises_one_line_when_keras_file_is_damaged(tmp_path: Path) -> None:
        path = tmp_path / "bad.keras"
        path.write_bytes(b"not a zip")
        with pytest.raises(ImportModelError, match="TensorFlow cannot convert it") as error:
            import_model(path)
        assert "\n" not in str(error.value)

"""Engines: one way to run each artifact format, all with the same face.

The table `ENGINES` is the whole truth about what this device can run. Whatever the file inside
computes with, an engine takes preprocessed float32 and gives logits in the bundle's number format
and on its output scale, so that golden vectors, trials and confidences mean the same on every
engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .errors import EngineError
from .lanes import Lanes
from .options import DEFAULT_OPTIONS, EngineOptions
from .quant import End, FloatArray, Logits, quantize_to

NOT_FINITE = "the artifact answered a logit that is not finite"


@dataclass(frozen=True, slots=True)
class OutputScale:
    """real = scale · (q - zero_point) for the logits of a bundle; `dtype` is their format.

    Logits in float32 are taken as they are.
    """

    scale: float
    zero_point: int
    dtype: str = "int8"  # int8 | int16 | float32


class Engine(Protocol):
    """A loaded artifact; its methods may be called from any thread."""

    @property
    def input(self) -> End:
        """What the lanes' `input` holds."""
        ...

    @property
    def outputs(self) -> int:
        """Logits of one sample."""
        ...

    @property
    def lanes(self) -> Lanes[Any]:
        """As many as samples may be answered at once: one for a model that remembers frames."""
        ...

    def run(self, x: FloatArray) -> Logits:
        """Preprocessed samples (n, *input.shape) to logits (n, classes) in the bundle's format.

        Samples of a model that remembers are the next frames of its recording.

        Raises:
            EngineError: the engine failed, or the samples have the wrong size.
        """
        ...

    def reset(self) -> None:
        """Forget all frames: what comes next begins a recording."""
        ...


def open_engine(
    format_name: str,
    artifact: bytes,
    output: OutputScale,
    options: EngineOptions = DEFAULT_OPTIONS,
) -> Engine:
    """Load an artifact of format `format_name`, and let it answer once: the first time is slow.

    Raises:
        EngineError: nothing here runs this format, its engine is not installed, or the engine
            refuses the artifact or the options.
    """
    options.check()
    try:
        factory = ENGINES[format_name]
    except KeyError:
        known = ", ".join(sorted(ENGINES))
        raise EngineError(
            f"no engine runs format '{format_name}'; this host runs {known}"
        ) from None
    return factory(artifact, output, options)


EngineFactory = Callable[[bytes, OutputScale, EngineOptions], Engine]


# A device loads the module of the one engine that it runs.
def _litert(artifact: bytes, output: OutputScale, options: EngineOptions) -> Engine:
    from .litert import LiteRtEngine

    return LiteRtEngine(artifact, output, options)


def _onnx(artifact: bytes, output: OutputScale, options: EngineOptions) -> Engine:
    from .onnx_engine import OnnxEngine

    return OnnxEngine(artifact, output, options)


def _c(artifact: bytes, output: OutputScale, options: EngineOptions) -> Engine:
    from .c_engine import CEngine

    return CEngine(artifact, output, options)


ENGINES: Mapping[str, EngineFactory] = {
    "tflite": _litert,
    "onnx": _onnx,
    "c": _c,  # takes the shared object
}

FORMATS: Mapping[str, str] = {"litert": "tflite", "onnxruntime": "onnx", "c": "c"}
"""The format that each engine of `ENGINES` runs, by the engine's name."""


def check_scale(end: End, output: OutputScale) -> None:
    """Refuse an artifact whose codes mean other numbers than the golden vectors'.

    Compared as float32: that is how a flatbuffer holds a scale.

    Raises:
        EngineError: the scales, zero points or formats differ.
    """
    same = np.float32(end.scale) == np.float32(output.scale) and end.zero_point == output.zero_point
    if end.holds_codes and not (same and np.dtype(end.dtype).name == output.dtype):
        raise EngineError("the artifact's output scale differs from the bundle's golden vectors")


def filling(x: FloatArray, elements: int) -> FloatArray:
    """Samples (n, …) as (n, elements): they may differ from the artifact's input in shape alone.

    Raises:
        EngineError: they have another size.
    """
    if math.prod(x.shape[1:]) != elements:
        raise EngineError(
            f"samples of shape {x.shape[1:]} do not fill the artifact's input of {elements}"
        )
    return x.reshape(len(x), elements)


def as_logits(found: npt.NDArray[Any], output: OutputScale) -> Logits:
    """Codes as they are, floats on the bundle's output scale where that has codes; any shape.

    Raises:
        EngineError: a logit is not finite.
    """
    if found.dtype.kind == "i":
        return found
    if not np.isfinite(found).all():
        raise EngineError(NOT_FINITE)
    if output.dtype == "float32":
        return found.astype(np.float32, copy=False)
    return quantize_to(np.dtype(output.dtype), found, output.scale, output.zero_point)


def one_line(error: Exception) -> str:
    """What foreign code says, short enough for a message."""
    return " ".join(str(error).split())[:200]

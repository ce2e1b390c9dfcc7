"""`.onnx` files in ONNX Runtime on the CPU; float32 in, float32 logits out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .engines import NOT_FINITE, OutputScale, as_logits, filling, one_line
from .errors import EngineError
from .lanes import Lanes
from .options import EngineOptions
from .quant import End, FloatArray, Logits, Rounding


class OnnxEngine:
    """One session, which any number of threads may run; a lane is an input of its own."""

    def __init__(self, artifact: bytes, output: OutputScale, options: EngineOptions) -> None:
        self._session = session = _session(artifact, options)
        if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
            raise EngineError("the artifact must have one input and one output")
        entry = session.get_inputs()[0]
        self._name = entry.name
        # A name or None stands for a size that is not fixed; the batch axis is the first.
        self._batches = not isinstance(entry.shape[0], int)
        self._shape = tuple(size for size in entry.shape[1:] if isinstance(size, int))
        self._scale = output
        lanes = [OnnxLane(session, self._shape, output) for _ in range(options.parallel)]
        self.lanes = Lanes(lanes)
        self.input = End(lanes[0].input.size, np.float32, 1.0, 0)
        self.outputs = len(lanes[0].run())  # the first run is slow

    def run(self, x: FloatArray) -> Logits:
        """See `Engine.run`."""
        samples = filling(x, self.input.elements).astype(np.float32, copy=False)
        samples = samples.reshape(len(x), *self._shape)
        batches = [samples] if self._batches else [sample[None] for sample in samples]
        logits = [_answers(self._session, {self._name: batch}) for batch in batches]
        if not logits:
            return np.zeros((0, self.outputs), self._scale.dtype)
        return as_logits(np.concatenate(logits), self._scale)

    def reset(self) -> None:
        """ONNX keeps nothing between runs."""


class OnnxLane:
    """One sample's input."""

    def __init__(self, session: Any, shape: tuple[int, ...], output: OutputScale) -> None:
        self._session = session
        self._rounding = Rounding(output.dtype, output.scale, output.zero_point)
        self._holds_codes = output.dtype != "float32"
        batch = np.zeros((1, *shape), np.float32)
        self.input = batch.reshape(-1)
        self._feed = {session.get_inputs()[0].name: batch}

    def run(self) -> Logits:
        """See `Lane.run`."""
        found = _answers(self._session, self._feed)[0]
        # Both find a NaN where there is one.
        if not (-math.inf < found.item(found.argmin()) and found.item(found.argmax()) < math.inf):
            raise EngineError(NOT_FINITE)
        return self._rounding.codes(found) if self._holds_codes else found

    def forget(self) -> None:
        """See `Lane.forget`."""


def _session(artifact: bytes, options: EngineOptions) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        msg = f"ONNX Runtime is not here ({error}); install it with: pip install edgekiln[onnx]"
        raise EngineError(msg) from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # failures come back as exceptions
    try:
        return onnxruntime.InferenceSession(artifact, settings, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions share no public base class.
    except Exception as error:
        raise EngineError(f"ONNX Runtime refuses the artifact: {one_line(error)}") from error


def _answers(session: Any, feed: dict[str, FloatArray]) -> FloatArray:
    """Logits (n, classes) of one batch."""
    try:
        found: FloatArray = session.run(None, feed)[0]
    except Exception as error:
        raise EngineError(f"ONNX Runtime failed: {one_line(error)}") from error
    return found.reshape(len(found), -1)

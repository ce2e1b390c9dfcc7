"""Engines: one way to run each artifact format, all with the same face.

The table `ENGINES` is the whole truth about what this device can run. Whatever the file inside
computes with, an engine takes preprocessed float32 and gives logits in the bundle's number format
and on its output scale, so that golden vectors, trials and confidences mean the same on every
engine.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .c_library import CLibrary, Context
from .errors import EngineError
from .quant import FloatArray, Logits, quantize_to


@dataclass(frozen=True, slots=True)
class OutputScale:
    """real = scale · (q - zero_point) for the logits of a bundle; `dtype` is their format.

    Logits in float32 are taken as they are.
    """

    scale: float
    zero_point: int
    dtype: str = "int8"  # int8 | int16 | float32


class Engine(Protocol):
    """A loaded artifact; `run` may be called from any thread."""

    def run(self, x: FloatArray) -> Logits:
        """Preprocessed samples (n, *input.shape) to logits (n, classes) in the bundle's format.

        Raises:
            EngineError: the engine failed, or the samples have the wrong size.
        """
        ...


def open_engine(format_name: str, artifact: bytes, output: OutputScale) -> Engine:
    """Load an artifact of format `format_name`.

    Raises:
        EngineError: nothing here runs this format, its engine is not installed, or the engine
            refuses the artifact.
    """
    try:
        factory = ENGINES[format_name]
    except KeyError:
        known = ", ".join(sorted(ENGINES))
        raise EngineError(
            f"no engine runs format '{format_name}'; this host runs {known}"
        ) from None
    return factory(artifact, output)


class LiteRtEngine:
    """A `.tflite` file in the LiteRT interpreter: one thread, one sample at a time."""

    def __init__(self, artifact: bytes, output: OutputScale) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            msg = f"LiteRT is not here ({error}); install it with: pip install ai-edge-litert"
            raise EngineError(msg) from error
        try:
            with without_delegate_notice():
                self._interpreter = Interpreter(model_content=artifact, num_threads=1)
                self._interpreter.allocate_tensors()
        # What a damaged flatbuffer or an unknown operator raises is not documented.
        except Exception as error:
            raise EngineError(f"LiteRT refuses the artifact: {_one_line(error)}") from error
        self._input = _tensor(self._interpreter.get_input_details(), "input")
        self._output = _tensor(self._interpreter.get_output_details(), "output")
        self._scale = output
        self._lock = threading.Lock()  # an interpreter has one set of tensors
        if self._output.dtype != np.float32 and not _same_scale(self._output, output):
            raise EngineError(
                "the artifact's output scale differs from the bundle's golden vectors"
            )

    def run(self, x: FloatArray) -> Logits:
        """See `Engine.run`."""
        _check_size(x, self._input.shape)
        samples = self._input.accept(x)
        try:
            with self._lock:
                rows = [self._invoke(sample) for sample in samples]
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"LiteRT failed: {_one_line(error)}") from error
        raw = np.stack(rows) if rows else np.zeros((0, self._output.shape[-1]), self._output.dtype)
        return _as_logits(raw, self._scale)

    def _invoke(self, sample: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._interpreter.set_tensor(self._input.index, sample.reshape(self._input.shape))
        self._interpreter.invoke()
        result: npt.NDArray[Any] = self._interpreter.get_tensor(self._output.index)[0]
        return result


class OnnxEngine:
    """An `.onnx` file in ONNX Runtime on one CPU thread; float32 in, float32 logits out."""

    def __init__(self, artifact: bytes, output: OutputScale) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            msg = f"ONNX Runtime is not here ({error}); install it with: pip install edgekiln[onnx]"
            raise EngineError(msg) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # failures come back as exceptions
        try:
            self._session = onnxruntime.InferenceSession(
                artifact, options, providers=["CPUExecutionProvider"]
            )
        # ONNX Runtime's exceptions share no public base class.
        except Exception as error:
            raise EngineError(f"ONNX Runtime refuses the artifact: {_one_line(error)}") from error
        if len(self._session.get_inputs()) != 1 or len(self._session.get_outputs()) != 1:
            raise EngineError("the artifact must have one input and one output")
        entry = self._session.get_inputs()[0]
        self._name = entry.name
        # A name or None stands for a size that is not fixed; the batch axis is the first.
        self._batches = not isinstance(entry.shape[0], int)
        self._shape = tuple(size for size in entry.shape[1:] if isinstance(size, int))
        self._scale = output

    def run(self, x: FloatArray) -> Logits:
        """See `Engine.run`."""
        _check_size(x, self._shape)
        samples = x.reshape(len(x), *self._shape).astype(np.float32, copy=False)
        batches = [samples] if self._batches else [sample[None] for sample in samples]
        try:
            logits = [self._session.run(None, {self._name: batch})[0] for batch in batches]
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_one_line(error)}") from error
        if not logits:
            return np.zeros((0, self._session.get_outputs()[0].shape[-1]), self._scale.dtype)
        return _as_logits(np.concatenate(logits), self._scale)


class CEngine:
    """Generated C as a shared library (`c_library.library_of`): one thread for each caller.

    Every thread that runs it has a context of its own, so callers never wait for each other.
    """

    def __init__(self, artifact: bytes, output: OutputScale) -> None:
        self._library = CLibrary(artifact)
        entry, end = self._library.input, self._library.output
        self._input = _Tensor(0, (entry.elements,), entry.dtype, entry.scale, entry.zero_point)
        self._output = _Tensor(0, (end.elements,), end.dtype, end.scale, end.zero_point)
        self._scale = output
        self._own = threading.local()
        if end.dtype is not np.float32 and not _same_scale(self._output, output):
            raise EngineError(
                "the artifact's output scale differs from the bundle's golden vectors"
            )

    def run(self, x: FloatArray) -> Logits:
        """See `Engine.run`."""
        _check_size(x, self._input.shape)
        codes = self._input.accept(x.reshape(len(x), *self._input.shape))
        return _as_logits(self._library.run(self._context(), codes), self._scale)

    def _context(self) -> Context:
        context: Context | None = getattr(self._own, "context", None)
        if context is None:
            context = self._own.context = self._library.context()
        return context


EngineFactory = Callable[[bytes, OutputScale], Engine]

ENGINES: Mapping[str, EngineFactory] = {
    "tflite": LiteRtEngine,
    "onnx": OnnxEngine,
    "c": CEngine,  # takes the shared object
}

FORMATS: Mapping[str, str] = {"litert": "tflite", "onnxruntime": "onnx", "c": "c"}
"""The format that each engine of `ENGINES` runs, by the engine's name."""


@dataclass(frozen=True)
class _Tensor:
    """Input or output of an interpreter."""

    index: int
    shape: tuple[int, ...]
    dtype: type[np.generic]
    scale: float
    zero_point: int

    def accept(self, x: FloatArray) -> npt.NDArray[Any]:
        """Float samples in the tensor's own dtype."""
        if self.dtype == np.float32:
            return x.astype(np.float32, copy=False)
        return quantize_to(np.dtype(self.dtype), x, self.scale, self.zero_point)


def _tensor(details: list[dict[str, Any]], what: str) -> _Tensor:
    if len(details) != 1:
        raise EngineError(f"the artifact has {len(details)} {what}s, this runtime takes one")
    detail = details[0]
    if detail["dtype"] not in (np.int8, np.int16, np.float32):
        found = np.dtype(detail["dtype"])
        msg = f"the artifact's {what} is {found}, this runtime takes int8, int16 or float32"
        raise EngineError(msg)
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    return _Tensor(detail["index"], shape, detail["dtype"], float(scale), int(zero_point))


def _same_scale(tensor: _Tensor, output: OutputScale) -> bool:
    """Compared as float32: that is how a flatbuffer holds a scale."""
    same = np.float32(tensor.scale) == np.float32(output.scale)
    fits = np.dtype(tensor.dtype).name == output.dtype
    return bool(same) and fits and tensor.zero_point == output.zero_point


def _check_size(x: FloatArray, shape: tuple[int, ...]) -> None:
    """Samples may differ from the artifact in shape (a channel axis), never in size."""
    if math.prod(x.shape[1:]) != math.prod(shape):
        raise EngineError(
            f"samples of shape {x.shape[1:]} do not fill the artifact's input {shape}"
        )


def _as_logits(logits: npt.NDArray[Any], output: OutputScale) -> Logits:
    """Codes as they are, floats on the bundle's output scale where that has codes."""
    flat = logits.reshape(len(logits), math.prod(logits.shape[1:]))
    if flat.dtype.kind == "i":
        return flat
    if not np.isfinite(flat).all():
        raise EngineError("the artifact answered a logit that is not finite")
    if output.dtype == "float32":
        return flat.astype(np.float32, copy=False)
    return quantize_to(np.dtype(output.dtype), flat, output.scale, output.zero_point)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


_notice = threading.Lock()
_notice_seen = False


@contextmanager
def without_delegate_notice() -> Iterator[None]:
    """Keep LiteRT's one line about its XNNPACK delegate off stderr.

    The line comes from C++, once a process, and LiteRT exports no way to set its log level. So the
    first interpreter is made with the stream in a file, and every other line is put back.
    """
    global _notice_seen  # noqa: PLW0603 (a fact about the process, not about an engine)
    with _notice:
        if _notice_seen:
            yield
            return
        _notice_seen = True
        sys.stderr.flush()
        with tempfile.TemporaryFile() as spool:
            kept = os.dup(2)
            os.dup2(spool.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                spool.seek(0)
                lines = spool.read().splitlines(keepends=True)
                os.write(2, b"".join(line for line in lines if b"XNNPACK delegate" not in line))

"""`.tflite` files in the LiteRT interpreter, one for each lane."""

from __future__ import annotations

import ctypes
import enum
import math
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from .engines import OutputScale, as_logits, check_scale, filling, one_line
from .errors import EngineError
from .lanes import Lanes
from .options import EngineOptions
from .quant import End, FloatArray, Logits


class Memory(enum.Enum):
    """How long what a LiteRT interpreter keeps in variables is meant to last."""

    NONE = enum.auto()
    OF_A_SAMPLE = enum.auto()  # an LSTM begins every sequence with nothing
    OF_THE_STREAM = enum.auto()  # SVDF takes a frame at a time


def memory_of(interpreter: Any) -> Memory:
    """What the operators of an interpreter ask for; LiteRT itself forgets nothing unasked."""
    names = {detail["op_name"] for detail in interpreter._get_ops_details()}
    if "SVDF" in names:
        return Memory.OF_THE_STREAM
    return Memory.OF_A_SAMPLE if "UNIDIRECTIONAL_SEQUENCE_LSTM" in names else Memory.NONE


class LiteRtEngine:
    """An interpreter for each sample that may be answered at once; a stream has one."""

    def __init__(self, artifact: bytes, output: OutputScale, options: EngineOptions) -> None:
        first = LiteRtLane(artifact, output, options)
        self.input, self.outputs = first.end, first.outputs
        self._remembers = first.memory is Memory.OF_THE_STREAM
        others = 0 if self._remembers else options.parallel - 1
        self.lanes = Lanes([first, *(LiteRtLane(artifact, output, options) for _ in range(others))])
        self._none = np.zeros((0, self.outputs), output.dtype)

    def run(self, x: FloatArray) -> Logits:
        """See `Engine.run`."""
        return self.lanes.run(self.input.accept(filling(x, self.input.elements)), self._none)

    def reset(self) -> None:
        """See `Engine.reset`."""
        if self._remembers:
            self.lanes.forget()


class LiteRtLane:
    """One interpreter. Its tensors are looked at where they lie: LiteRT's own calls to set and to
    get one cost as much as a small layer.
    """

    def __init__(self, artifact: bytes, output: OutputScale, options: EngineOptions) -> None:
        self._interpreter = interpreter = _interpreter(artifact, options)
        entry = _only(interpreter.get_input_details(), "input")
        end = _only(interpreter.get_output_details(), "output")
        self.end, out = _end(entry), _end(end)
        check_scale(out, output)
        self.outputs = out.elements
        self.memory = memory_of(interpreter)
        self._direct = out.holds_codes
        self._scale = output
        self.input = self._view(entry, self.end)
        self.input[...] = 0
        self._begins = self.memory is Memory.OF_A_SAMPLE
        # The call within `invoke`, which looks for views on loan first: here is none.
        self._invoke = getattr(interpreter._interpreter, "Invoke", interpreter.invoke)
        self._found = self._view(end, out)
        # Also warms the caches. An interpreter that moves its tensors now would move them again.
        self.run()
        if not (self._lies(entry, self.input) and self._lies(end, self._found)):
            raise EngineError("the artifact has tensors that move; this runtime takes fixed shapes")
        self.forget()

    def run(self) -> Logits:
        """See `Lane.run`."""
        if self._begins:
            self._interpreter.reset_all_variables()
        try:
            self._invoke()
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"LiteRT failed: {one_line(error)}") from error
        found = self._found.copy()
        return found if self._direct else as_logits(found, self._scale)

    def forget(self) -> None:
        """See `Lane.forget`."""
        if self.memory is not Memory.NONE:
            self._interpreter.reset_all_variables()

    def _view(self, detail: dict[str, Any], end: End) -> npt.NDArray[Any]:
        """A tensor's own memory, which the interpreter holds as long as this lane holds it.

        A view that LiteRT hands out counts as a loan: it refuses to run while one is out.
        """
        size = end.elements * np.dtype(end.dtype).itemsize
        memory = (ctypes.c_char * size).from_address(self._address(detail))
        return np.frombuffer(memoryview(memory), end.dtype)

    def _lies(self, detail: dict[str, Any], view: npt.NDArray[Any]) -> bool:
        return bool(view.ctypes.data == self._address(detail))

    def _address(self, detail: dict[str, Any]) -> int:
        try:
            tensor = self._interpreter.tensor(detail["index"])()
        except ValueError as error:
            raise EngineError(f"LiteRT has no memory for a tensor: {one_line(error)}") from error
        return int(tensor.ctypes.data)


def _interpreter(artifact: bytes, options: EngineOptions) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        msg = f"LiteRT is not here ({error}); install it with: pip install ai-edge-litert"
        raise EngineError(msg) from error
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with without_delegate_notice():
            interpreter = Interpreter(
                model_content=artifact,
                num_threads=options.threads,
                experimental_op_resolver_type=OpResolverType.AUTO if options.xnnpack else plain,
            )
            interpreter.allocate_tensors()
    # What a damaged flatbuffer or an unknown operator raises is not documented.
    except Exception as error:
        raise EngineError(f"LiteRT refuses the artifact: {one_line(error)}") from error
    return interpreter


def _only(details: list[dict[str, Any]], what: str) -> dict[str, Any]:
    if len(details) != 1:
        raise EngineError(f"the artifact has {len(details)} {what}s, this runtime takes one")
    detail = details[0]
    if detail["dtype"] not in (np.int8, np.int16, np.float32):
        found = np.dtype(detail["dtype"])
        msg = f"the artifact's {what} is {found}, this runtime takes int8, int16 or float32"
        raise EngineError(msg)
    return detail


def _end(detail: dict[str, Any]) -> End:
    scale, zero_point = detail["quantization"]
    elements = math.prod(int(size) for size in detail["shape"])
    return End(elements, detail["dtype"], float(scale), int(zero_point))


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

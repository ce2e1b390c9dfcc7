"""What microcontrollers run, on this machine: TensorFlow Lite Micro, of the extra `mcu`.

Its Python wheel has the portable kernels, which boards without a vendor's library run too.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import Logits, quantize_to
from edgekiln.targets.errors import MissingToolError

from .errors import CompileError
from .oracles import distribution_version

TFLM = "tflite-micro"
_ARENA_BYTES = 64 << 20  # of this machine's memory; a board's is planned elsewhere


def run_tflm(model: bytes, x: npt.NDArray[np.float32]) -> Logits:
    """TensorFlow Lite Micro on preprocessed samples (n, …): logits (n, classes) as the file has.

    Raises:
        MissingToolError: it is not installed.
        CompileError: it refuses the model, or fails.
    """
    interpreter = _open(model)
    entry = interpreter.get_input_details(0)
    inputs: Logits = x.reshape(len(x), *entry["shape"][1:])
    if entry["dtype"] != np.float32:
        quant = entry["quantization_parameters"]
        place = float(quant["scales"][0]), int(quant["zero_points"][0])
        inputs = quantize_to(np.dtype(entry["dtype"]), inputs, *place)
    return _run(interpreter, [inputs], _forgets(model)).reshape(len(x), -1)


def run_tflm_codes(model: bytes, inputs: Sequence[Logits]) -> Logits:
    """The same on inputs (n, …) in the file's own formats and order; the output is (n, …).

    Raises:
        MissingToolError: it is not installed.
        CompileError: it refuses the model, or fails.
    """
    return _run(_open(model), inputs, _forgets(model))


def _open(model: bytes) -> Any:
    need_mcu(TFLM)
    from tflite_micro.python.tflite_micro import runtime

    with _refusals():
        return runtime.Interpreter.from_bytes(model, arena_size=_ARENA_BYTES)


def _forgets(model: bytes) -> bool:
    """Whether each sample begins with nothing remembered: an LSTM's does, a stream's does not."""
    from ai_edge_litert import schema_py_generated as schema

    file = schema.Model.GetRootAs(model, 0)
    codes = {file.OperatorCodes(i).BuiltinCode() for i in range(file.OperatorCodesLength())}
    return schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM in codes


def _run(interpreter: Any, inputs: Sequence[Logits], forgets: bool) -> Logits:
    answers = []
    with _refusals():
        for sample in range(len(inputs[0])):
            if forgets:
                interpreter.reset()
            for index, data in enumerate(inputs):
                interpreter.set_input(data[sample : sample + 1], index)
            interpreter.invoke()
            answers.append(np.array(interpreter.get_output(0)))
    return np.concatenate(answers)


@contextmanager
def _refusals() -> Iterator[None]:
    """What its bindings raise, which is not documented, as one line.

    Why it refuses a model it says in C++ on stderr, so that goes into the line instead.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as spool:
        kept = os.dup(2)
        os.dup2(spool.fileno(), 2)
        try:
            yield
        except Exception as error:
            spool.seek(0)
            said = spool.read().decode("utf-8", "replace").strip() or str(error).strip()
            reason = (said.splitlines() or [type(error).__name__])[0]
            raise CompileError(f"TensorFlow Lite Micro refuses the model: {reason}") from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def need_mcu(package: str) -> None:
    """Raises MissingToolError where a package of the extra `mcu` is not installed."""
    if distribution_version(package) == "absent":
        raise MissingToolError(f"{package} is not installed; pip install edgekiln[mcu]")

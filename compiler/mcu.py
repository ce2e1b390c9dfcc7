"""What microcontrollers run, on this machine: TensorFlow Lite Micro, and Vela for Ethos-U.

Both come with the extra `mcu`. TensorFlow Lite Micro's Python wheel has its portable kernels, which
boards without a vendor's library run too. Vela compiles a file for the NPU and says what is left
for the CPU beside it.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import Logits, quantize_to
from edgekiln.targets.errors import MissingToolError

from .errors import CompileError
from .oracles import distribution_version

TFLM, VELA = "tflite-micro", "ethos-u-vela"
_ARENA_BYTES = 64 << 20  # of this machine's memory; a board's is planned elsewhere
_TIMEOUT_S = 300
_PLACED = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class VelaReport:
    """Operators by place, and the emulated time of one inference in milliseconds."""

    npu_operators: int
    cpu_operators: int
    inference_ms: float


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
    _need(TFLM)
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


def run_vela(model: bytes, accelerator: str = "ethos-u55-128") -> VelaReport:
    """Compile an int8 file for an Ethos-U with Vela's own system and memory configuration.

    Raises:
        MissingToolError: it is not installed.
        CompileError: it refuses the model.
    """
    _need(VELA)
    with tempfile.TemporaryDirectory(prefix="edgekiln-vela-") as name:
        path = Path(name) / "model.tflite"
        path.write_bytes(model)
        options = ("--accelerator-config", accelerator, "--output-dir", name)
        done = subprocess.run(
            (sys.executable, "-m", "ethosu.vela", str(path), *options),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        placed = {place: int(count) for place, count in _PLACED.findall(done.stdout)}
        summaries = list(Path(name).glob("model_summary_*.csv"))
        if done.returncode or not placed or not summaries:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise CompileError(f"Vela refuses the model: {said[-1]}")
        with summaries[0].open(newline="") as file:
            row = next(csv.DictReader(file))
        seconds = float(row["inference_time"])
    return VelaReport(placed.get("NPU", 0), placed.get("CPU", 0), 1e3 * seconds)


def _need(package: str) -> None:
    if distribution_version(package) == "absent":
        raise MissingToolError(f"{package} is not installed; pip install edgekiln[mcu]")

"""Engines that run an artifact's bytes here, each on its own code: they check one another.

Every function takes preprocessed float32 samples (n, …) or golden vectors and returns logits
(n, classes) in the graph's own number format, so that codes can be compared with the reference
byte by byte.
"""

from __future__ import annotations

import enum
import importlib.metadata
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.c_library import CLibrary, c_compiler, library_name, library_of
from edgekiln.runtime.engines import OutputScale, open_engine
from edgekiln.runtime.errors import EngineError
from edgekiln.runtime.litert import Memory, memory_of, without_delegate_notice
from edgekiln.runtime.quant import Logits, quantize_to
from edgekiln.targets.emulate import Emulation, emulate_folder
from edgekiln.targets.errors import MissingToolError
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.target import Target

from .emit_c_sources import answering_main
from .errors import CompileError, MissingKernelError

Floats = npt.NDArray[np.float32]

_C_FLAGS = ("-std=c99", "-O2", "-ffp-contract=off")
_TIMEOUT_S = 120
_ABSENT_KERNEL = re.compile(r"find op for builtin opcode '(\w+)'")  # ELU, for one
_FORMATS = (np.int8, np.int16, np.float32)  # of inputs, outputs and activations


class Engine(enum.StrEnum):
    """Who answered."""

    FLOAT = "float"  # the graph before quantization, in numpy
    REFERENCE = "reference"  # the graph as it is emitted, in numpy
    LITERT_REFERENCE = "litert-reference"  # LiteRT's reference kernels
    LITERT_XNNPACK = "litert-xnnpack"  # what a Linux device runs
    ONNXRUNTIME = "onnxruntime"
    TFLM = "tflm"  # TensorFlow Lite Micro's portable kernels
    C_HOST = "c-host"  # generated C, built by this machine's compiler
    C_LIBRARY = "c-library"  # generated C as the shared library that the runtime loads
    C_EMULATED = "c-emulated"  # generated C on an emulated core


# format -> the engine that a Linux device runs it in, and its distribution
RUNTIME_ENGINES: Mapping[str, tuple[Engine, str]] = {
    "tflite": (Engine.LITERT_XNNPACK, "ai-edge-litert"),
    "onnx": (Engine.ONNXRUNTIME, "onnxruntime"),
}


def run_litert_reference(model: bytes, x: Floats) -> Logits:
    """LiteRT's reference kernels, which the integer reference equals byte for byte.

    Raises:
        MissingKernelError: they lack an operator of the model.
        CompileError: LiteRT refuses the model.
    """
    return _run_litert(_interpreter(model, reference=True), x)


def run_runtime(fmt: str, model: bytes, x: Floats, output: OutputScale) -> Logits:
    """The engine that `edgekiln.runtime` runs on a device: LiteRT with XNNPACK, or ONNX Runtime.

    `output` is the graph's, for engines that answer in floats.

    Raises:
        MissingToolError: the engine's package is not installed.
        CompileError: the engine refuses the model, or fails.
    """
    _, package = RUNTIME_ENGINES[fmt]
    if distribution_version(package) == "absent":
        raise MissingToolError(f"{package} is not installed; pip install edgekiln[onnx]")
    try:
        return open_engine(fmt, model, output).run(x)
    except EngineError as error:
        raise CompileError(str(error)) from error


def litert_call(model: bytes, sample: Floats) -> Callable[[], object]:
    """A callable that runs one preprocessed sample (…), already in place: inference alone."""
    interpreter = litert_interpreter(model)
    _run_litert(interpreter, sample[None])
    return cast(Callable[[], object], interpreter.invoke)


def litert_tensors(model: bytes, x: Floats, names: Collection[str]) -> dict[str, Logits]:
    """The activations `names` of the reference kernels, each (n, …), where the file has them.

    Interpreters add tensors of their own, some without a name or under one that is taken.
    """
    interpreter = _interpreter(model, reference=True, keep=True)
    rows: dict[str, list[Logits]] = {}
    found = {d["name"]: d for d in reversed(interpreter.get_tensor_details())}
    details = [found[n] for n in names if n in found and found[n]["dtype"] in _FORMATS]
    for _ in _answers(interpreter, x):
        for detail in details:
            try:
                rows.setdefault(detail["name"], []).append(interpreter.get_tensor(detail["index"]))
            except ValueError:  # a tensor without data of its own
                continue
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def litert_interpreter(model: bytes) -> Any:
    """An allocated LiteRT interpreter with the kernels that a Linux device runs.

    Raises:
        CompileError: LiteRT refuses the model.
    """
    with without_delegate_notice():
        return _interpreter(model, reference=False)


def onnx_session(model: bytes) -> Any:
    """An ONNX Runtime session on one thread.

    Raises:
        MissingToolError: ONNX Runtime is not installed.
        CompileError: it refuses the model.
    """
    if distribution_version("onnxruntime") == "absent":
        raise MissingToolError("onnxruntime is not installed; pip install edgekiln[onnx]")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # failures come back as exceptions
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise CompileError(f"ONNX Runtime refuses the model: {_first_line(error)}") from error


def onnx_call(model: bytes, sample: Floats) -> Callable[[], object]:
    """A callable that runs one preprocessed sample (…) in ONNX Runtime on one thread."""
    session = onnx_session(model)
    entry = session.get_inputs()[0]
    inputs = {entry.name: sample.reshape(1, *entry.shape[1:])}
    return lambda: session.run(None, inputs)


def c_call(library: bytes, sample: Floats) -> Callable[[], object]:
    """A callable that runs one preprocessed sample (…) in the shared object of generated C."""
    loaded = CLibrary(library)
    entry, context = loaded.input, loaded.context()
    codes = sample.reshape(1, -1)
    if entry.dtype is not np.float32:
        codes = quantize_to(np.dtype(entry.dtype), codes, entry.scale, entry.zero_point)
    return lambda: loaded.run(context, codes)


# format -> what runs one sample of it on this machine, for a stopwatch
RUNTIME_CALLS: Mapping[str, Callable[[bytes, Floats], Callable[[], object]]] = {
    "tflite": litert_call,
    "onnx": onnx_call,
    "c": c_call,
}


def run_c_host(files: Mapping[str, bytes], like: Logits) -> Logits:
    """Build generated C with this machine's gcc and run its own golden vectors.

    `like` are outputs of the same form, for any number of samples.

    Raises:
        MissingToolError: there is no gcc.
        CompileError: it does not build, or ends otherwise than by comparing its vectors.
    """
    printed = _run_built(files, b"", (0, 1))
    try:
        return outputs_of(bytes.fromhex("".join(printed.decode("ascii").split())), like)
    except ValueError as error:
        raise CompileError(f"main.c prints other than hexadecimal digits: {error}") from error


def answer_c_host(files: Mapping[str, bytes], samples: Logits, like: Logits) -> Logits:
    """Build generated C with this machine's gcc and answer `samples` (n, …) in stored codes.

    `like` are outputs of the same form, for any number of samples.

    Raises:
        MissingToolError: there is no gcc.
        CompileError: it does not build, crashes or hangs.
    """
    answering = {**files, "main.c": answering_main()}
    return outputs_of(_run_built(answering, samples.tobytes(), (0,)), like)


def _run_built(files: Mapping[str, bytes], given: bytes, accepted: tuple[int, ...]) -> bytes:
    """What the program that `files` make prints."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise MissingToolError("gcc not found; install it with: apt-get install gcc")
    with tempfile.TemporaryDirectory(prefix="edgekiln-c-") as name:
        folder = write_files(files, Path(name))
        sources = sorted(str(path) for path in folder.glob("*.c"))
        _call((compiler, *_C_FLAGS, *sources, "-o", str(folder / "model")), (0,))
        return _call((str(folder / "model"),), accepted, given)


def run_library(files: Mapping[str, bytes], x: Floats, output: OutputScale, source: str) -> Logits:
    """Generated C as `edgekiln.runtime` runs it: the shared object that came with it, or built now.

    Raises:
        MissingToolError: there is none for this machine, and no C compiler.
        CompileError: it cannot be built or loaded, or fails.
    """
    if library_name() not in files and c_compiler() is None:
        raise MissingToolError("no C compiler found; install one with: apt-get install gcc")
    try:
        return open_engine("c", library_of(files, source), output).run(x)
    except EngineError as error:
        raise CompileError(str(error)) from error


def run_c_emulated(files: Mapping[str, bytes], target: Target) -> Emulation:
    """Build generated C for the core of `target`, run its golden vectors and count.

    Raises:
        MissingToolError: a tool is absent.
        MeasurementError: no emulator of that core, or the build or the run failed.
    """
    with tempfile.TemporaryDirectory(prefix="edgekiln-c-") as name:
        return emulate_folder(write_files(files, Path(name)), target)


def core_compiler_version(target: Target) -> str:
    """The compiler of the emulated core of `target`, or `absent`."""
    machine = MACHINES.get(target.core.lower())
    return "absent" if machine is None else tool_version(f"{machine.prefix}gcc")


def outputs_of(printed: bytes, like: Logits) -> Logits:
    """Outputs (n, classes) in the form of `like` from the bytes that a run printed."""
    classes, kind = like.shape[1], like.dtype
    if len(printed) % (classes * kind.itemsize):
        raise CompileError(f"generated C printed {len(printed)} bytes for {classes} {kind} classes")
    # This machine and every emulated core are little-endian.
    found: Logits = np.frombuffer(printed, kind.newbyteorder("<")).astype(kind)
    return found.reshape(-1, classes)


def write_files(files: Mapping[str, bytes], folder: Path) -> Path:
    """`files` as a folder."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def distribution_version(name: str) -> str:
    """Version of an installed distribution, or `absent`."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def tool_version(command: str) -> str:
    """First line that a tool prints about itself, or `absent`."""
    if shutil.which(command) is None:
        return "absent"
    lines = _call((command, "--version"), (0,)).decode("utf-8", "replace").splitlines()
    return lines[0].strip() if lines else "unknown"


def _interpreter(model: bytes, *, reference: bool, keep: bool = False) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    try:
        interpreter = Interpreter(
            model_content=model,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=keep,
            num_threads=1,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if reference and (absent := _ABSENT_KERNEL.search(str(error))):
            raise MissingKernelError(
                f"LiteRT's reference kernels lack operator {absent[1]} of the model"
            ) from error
        raise CompileError(f"LiteRT cannot load the model: {_first_line(error)}") from error
    return interpreter


def _run_litert(interpreter: Any, x: Floats) -> Logits:
    rows = np.concatenate(list(_answers(interpreter, x)))
    return rows.reshape(len(rows), -1)


def _answers(interpreter: Any, x: Floats) -> Iterator[Logits]:
    """The output of one sample after the other, and of a stream's frames from its beginning."""
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if entry["dtype"] not in _FORMATS or end["dtype"] not in _FORMATS:
        raise CompileError(
            f"the model takes {entry['dtype'].__name__} and gives {end['dtype'].__name__}; "
            "int8, int16 and float32 are known"
        )
    inputs = _as_inputs(x, tuple(entry["shape"][1:]))
    if entry["dtype"] != np.float32:
        inputs = quantize_to(np.dtype(entry["dtype"]), inputs, *entry["quantization"])
    memory = memory_of(interpreter)
    if memory is Memory.OF_THE_STREAM:
        interpreter.reset_all_variables()
    for sample in inputs:
        if memory is Memory.OF_A_SAMPLE:
            interpreter.reset_all_variables()
        interpreter.set_tensor(entry["index"], sample[None])
        interpreter.invoke()
        yield interpreter.get_tensor(end["index"])


def _as_inputs(x: Floats, shape: tuple[int, ...]) -> Floats:
    """Samples in the model's own shape: a flat model takes a flattened image."""
    if math.prod(shape) != math.prod(x.shape[1:]):
        raise CompileError(f"the model takes samples of shape {shape}, not {x.shape[1:]}")
    return x.reshape(-1, *shape)


def _call(command: tuple[str, ...], accepted: tuple[int, ...], given: bytes = b"") -> bytes:
    """Standard output of a command that gets `given` as its standard input."""
    try:
        result = subprocess.run(
            command, input=given, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"{command[0]} did not end within {_TIMEOUT_S} s") from error
    if result.returncode not in accepted:
        lines = result.stderr.decode("utf-8", "replace").splitlines()
        complaints = [line for line in lines if "error" in line]
        detail = (complaints or lines or [f"exit {result.returncode}"])[0]
        raise CompileError(f"{Path(command[0]).name} failed: {detail}")
    return result.stdout


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""Generated C as a shared library of this machine: carried by the bundle, or built from sources.

A bundle's artifact of C is a folder of sources. Where it was compiled for the machine that it was
compiled on, the shared object lies beside them, under a name that says which system and processor
it is for, so that a device of that kind needs no C compiler. Elsewhere the sources are built when
the model is opened, once in a process: nothing that was built stays on a disk, where it would have
to be trusted again. Both come out of a `Bundle`, which has checked every digest.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import EngineError
from .quant import End

_ABI = 1
_INTERFACE = Path(__file__).parent / "c" / "library.c"
_COMPILERS = ("cc", "gcc", "clang")
# Of equal sources equal bytes: nothing that names this machine's folders or this moment.
_FLAGS = (
    *("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-fvisibility=hidden", "-w"),
    *("-shared", "-s", "-Wl,--build-id=none", "-Wl,--no-undefined"),
)
_TIMEOUT_S = 300
_PROGRAM = ("main.c", "golden.h")  # proves the sources; no part of the library
_DTYPES: Mapping[int, type[np.generic]] = {1: np.int8, 2: np.int16, 4: np.float32}

Codes = npt.NDArray[Any]
Context = npt.NDArray[np.uint64]


def library_name() -> str:
    """The name of a shared object for machines like this one."""
    return f"libmodel-{platform.system()}-{platform.machine()}.so".lower()


def c_compiler() -> str | None:
    """The path of this machine's C compiler, if there is one."""
    return next((path for name in _COMPILERS if (path := shutil.which(name))), None)


def carries_library(files: Iterable[str]) -> bool:
    """Whether an artifact of C with files of these names is for computers, not for a board."""
    return any(name.endswith(".so") for name in files)


def library_of(files: Mapping[str, bytes], source: str) -> bytes:
    """The shared object of an artifact of C, files by name: its own one, else built here.

    `files` are trusted: what they hold runs. `source` names them in messages.

    Raises:
        EngineError: there is none for this machine and no C compiler, or the sources do not build.
    """
    name = library_name()
    if name in files:
        return files[name]
    if c_compiler() is None:
        others = ", ".join(sorted(name for name in files if name.endswith(".so"))) or "sources"
        raise EngineError(
            f"{source}: its C comes as {others}, and here is no C compiler to make {name}; "
            "install one (apt-get install gcc) or compile the model on a machine like this one"
        )
    return _built(tuple(sorted(files.items())))


def build_library(files: Mapping[str, bytes]) -> bytes:
    """The shared object that the sources in `files` make; equal sources give equal bytes.

    Raises:
        EngineError: there is no C compiler, or the sources do not build.
    """
    compiler = c_compiler()
    if compiler is None:
        raise EngineError("no C compiler here; install one: apt-get install gcc")
    sources = {name: data for name, data in files.items() if name.endswith((".c", ".h"))}
    with tempfile.TemporaryDirectory(prefix="edgekiln-library-") as name:
        folder = Path(name)
        for file, data in sources.items():
            if file not in _PROGRAM and "/" not in file:
                (folder / file).write_bytes(data)
        (folder / _INTERFACE.name).write_bytes(_INTERFACE.read_bytes())
        units = sorted(path.name for path in folder.glob("*.c"))
        _compile((compiler, *_FLAGS, *units, "-lm", "-o", "model.so"), folder)
        return (folder / "model.so").read_bytes()


@functools.lru_cache(maxsize=8)
def _built(files: tuple[tuple[str, bytes], ...]) -> bytes:
    return build_library(dict(files))


def _compile(command: tuple[str, ...], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{command[0]} cannot build the model's C: {error}") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        detail = next((line for line in lines if "error" in line), "it does not say why")
        raise EngineError(f"{command[0]} cannot build the model's C: {detail}")


class _End(ctypes.Structure):
    _fields_ = (
        ("elements", ctypes.c_int32),
        ("element_bytes", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
    )


class _Description(ctypes.Structure):
    _fields_ = (
        ("abi", ctypes.c_int32),
        ("context_bytes", ctypes.c_int32),
        ("state_bytes", ctypes.c_int32),
        ("input", _End),
        ("output", _End),
    )


class CLibrary:
    """A loaded shared library (c/library.c), unloaded with this object.

    Any number of threads may run it at once, each with a context of its own.
    """

    def __init__(self, data: bytes) -> None:
        """Load the shared object `data`, which is trusted: it runs in this process.

        Raises:
            EngineError: this machine cannot load it, or it is no model.
        """
        library = _loaded(data)
        # Not at exit, when a thread may still be in it.
        weakref.finalize(self, _unload, library._handle).atexit = False
        try:
            describe, self._reset = library.edgekiln_describe, library.edgekiln_reset
            self._run = library.edgekiln_run
        except AttributeError as error:
            raise EngineError(f"the shared library is no model: {error}") from error
        describe.argtypes, describe.restype = (ctypes.POINTER(_Description),), None
        pointer = ctypes.c_void_p
        self._run.argtypes = (pointer, pointer, pointer, ctypes.c_int32)
        self._reset.argtypes, self._reset.restype = (pointer,), None
        self._run.restype = None
        found = _Description()
        describe(found)
        if found.abi != _ABI:
            raise EngineError(f"the shared library has interface {found.abi}, this runtime {_ABI}")
        self._context_bytes = int(found.context_bytes)
        self.remembers = found.state_bytes > 0
        self.input, self.output = _end(found.input), _end(found.output)

    def context(self) -> Context:
        """Memory of one instance of the model, which remembers nothing yet."""
        context = np.zeros(-(-self._context_bytes // 8), np.uint64)
        self.reset(context)
        return context

    def reset(self, context: Context) -> None:
        """Forget the frames of a model that `remembers` some."""
        self._reset(context.ctypes.data)

    def run(self, context: Context, codes: Codes) -> Codes:
        """Answers (n, output.elements) of inputs (n, input.elements); the GIL is released."""
        inputs = np.ascontiguousarray(codes, self.input.dtype)
        outputs = np.empty((len(inputs), self.output.elements), self.output.dtype)
        self._run(context.ctypes.data, inputs.ctypes.data, outputs.ctypes.data, len(inputs))
        return outputs

    def caller(self, context: Context, codes: Codes, answers: Codes) -> Callable[[], None]:
        """A call that answers one input (input.elements,) into answers (output.elements,).

        All three arrays stay where they are for as long as it may be called.
        """
        run, one = self._run, ctypes.c_int32(1)
        places = tuple(ctypes.c_void_p(part.ctypes.data) for part in (context, codes, answers))

        def call(kept: tuple[object, ...] = (context, codes, answers)) -> None:
            run(*places, one)

        return call


def _loaded(data: bytes) -> ctypes.CDLL:
    """Under a name of its own: the loader takes a name that it knows for the same library."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-library-") as name:
        path = Path(name) / library_name()
        path.write_bytes(data)
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise EngineError(f"the loader refuses the artifact: {reason}") from error
    return library


def _unload(handle: int) -> None:
    close = ctypes.CDLL(None).dlclose
    close.argtypes = (ctypes.c_void_p,)
    close(handle)


def _end(found: _End) -> End:
    dtype = _DTYPES.get(found.element_bytes)
    if dtype is None:
        raise EngineError(f"the shared library has elements of {found.element_bytes} bytes")
    return End(int(found.elements), dtype, float(found.scale), int(found.zero_point))

"""`emit_artifact`: an int8 graph as the files of one format, with their digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from edgekiln.runtime.c_library import build_library, c_compiler, carries_library, library_name
from edgekiln.runtime.errors import EngineError
from edgekiln.targets.target import Target

from .emit_c import emit_c
from .emit_c_family import Family, family_of_core, family_of_files
from .emit_c_layer import c_bytes
from .emit_onnx import emit_onnx
from .emit_tflite import emit_tflite
from .errors import CompileError, EmitError
from .grammar import check
from .graph import Graph
from .passes import Trace, lower_padding, untraced

Codes = npt.NDArray[Any]

_DECLARATION = re.compile(r"extern const (\w+) \w+\[(\d+)\];")


@dataclass(frozen=True, slots=True)
class ArtifactKind:
    """What decides an artifact's bytes beside the model: its format and, for `c`, the kernels.

    `built`: C with a shared object for machines like this one.
    """

    format: str
    family: Family = Family.PORTABLE
    built: bool = False

    @property
    def title(self) -> str:
        """For a person."""
        kernels = "" if self.family is Family.PORTABLE else str(self.family)
        said = ", ".join(filter(None, (kernels, "shared library" if self.built else "")))
        return f"{self.format} ({said})" if said else self.format


def kind_for(target: Target, fmt: str) -> ArtifactKind:
    """The kind that is fastest on `target` in the format `fmt`.

    C for this machine is built here, where there is a compiler.
    """
    if fmt != "c":
        return ArtifactKind(fmt)
    built = target.device_class == "host" and c_compiler() is not None
    return ArtifactKind(fmt, family_of_core(target.core), built)


@dataclass(frozen=True, eq=False)
class EmittedArtifact:
    """Files of one format by name, relative to the artifact's own folder.

    `golden` (n, …) are the inputs, in the graph's format, that generated C has compiled in.
    """

    format: str
    files: Mapping[str, bytes]
    golden: Codes

    @property
    def kind(self) -> ArtifactKind:
        """What it is, read from its files."""
        return ArtifactKind(self.format, self.family, carries_library(self.files))

    @property
    def family(self) -> Family:
        """The kernels of generated C, read from its files; other formats have none of their own."""
        return family_of_files(self.files)

    @property
    def model(self) -> bytes:
        """The one file of a single-file format."""
        (data,) = self.files.values()
        return data

    @property
    def runnable(self) -> bytes | None:
        """What an engine of this machine loads: the one file, or the shared object of C."""
        return self.files.get(library_name()) if self.format == "c" else self.model

    @property
    def nbytes(self) -> int:
        """Size of all files."""
        return sum(len(data) for data in self.files.values())

    @property
    def sha256(self) -> str:
        """Of the file, or for `c` of the sorted lines `sha256  name`, as `sha256sum *` has them."""
        if self.format != "c":
            return hashlib.sha256(self.model).hexdigest()
        lines = (
            f"{hashlib.sha256(data).hexdigest()}  {name}\n"
            for name, data in sorted(self.files.items())
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def path(self, target_id: str) -> str:
        """The member of a bundle that holds it; for `c` the folder of its members."""
        stem = "c" if self.format == "c" else f"model.{self.format}"
        return f"artifacts/{target_id}/{stem}"

    def members(self, target_id: str) -> dict[str, bytes]:
        """Members of a bundle by path."""
        path = self.path(target_id)
        if self.format != "c":
            return {path: self.model}
        return {f"{path}/{name}": data for name, data in self.files.items()}


def emit_artifact(
    graph: Graph, kind: ArtifactKind, golden: Codes, trace: Trace = untraced
) -> EmittedArtifact:
    """`graph` as an artifact of `kind`, in the format tflite, onnx or c.

    `golden` (n, …) are the inputs, in the graph's format, that generated C carries to prove
    itself. `trace` gets the graph as the format lowers it.

    Raises:
        EmitError: an unknown format, or a graph that it cannot express.
        GrammarError: what was lowered for the format breaks the graph's rules.
        CompileError: this machine's compiler refuses the C that was to be built.
    """
    fmt = kind.format
    emitter = _EMITTERS.get(fmt)
    if emitter is None:
        raise EmitError(f"format '{fmt}' is unknown; known: {', '.join(_EMITTERS)}")
    lowered = _LOWERINGS.get(fmt, _as_it_is)(graph)
    check(lowered)
    trace(f"lower for {kind.title}", lowered)
    files = emitter(graph, golden, kind.family)
    return EmittedArtifact(fmt, _with_library(files) if kind.built else files, golden)


def _with_library(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    try:
        return {**files, library_name(): build_library(files)}
    except EngineError as error:
        raise CompileError(str(error)) from error


def _as_it_is(graph: Graph) -> Graph:
    return graph


def c_constant_bytes(files: Mapping[str, bytes]) -> int:
    """Flash that generated C needs for parameters: weights, biases, multipliers and shifts."""
    declared = _DECLARATION.findall(files["weights.h"].decode("ascii"))
    return sum(c_bytes(c_type) * int(size) for c_type, size in declared)


# What a format cannot say as the graph says it; the emitter does the same by itself.
_LOWERINGS: Mapping[str, Callable[[Graph], Graph]] = {"tflite": lower_padding}

_EMITTERS: Mapping[str, Callable[[Graph, Codes, Family], Mapping[str, bytes]]] = {
    "tflite": lambda graph, golden, family: {"model.tflite": emit_tflite(graph)},
    "onnx": lambda graph, golden, family: {"model.onnx": emit_onnx(graph)},
    "c": lambda graph, golden, family: emit_c(graph, golden, family).files,
}

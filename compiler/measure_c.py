"""`measure_c`: generated C on the emulated core of a target: what each layer costs, and the whole.

Instructions are counted and exact; cycles are these times the cycles per instruction of the
target's profile, an estimate with an interval. The C is a folder, the C artifact of a bundle, or
made here from a quantized .tflite with the kernels that are fastest on the core.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.runtime.manifest import EstimateRecord
from edgekiln.targets.emulate import EVIDENCE_ID
from edgekiln.targets.emulate_profile import FolderCounts, measure_folder
from edgekiln.targets.evidence import Estimate, Tier
from edgekiln.targets.target import Target

from .assemble import record
from .emit_c import emit_c
from .emit_c_arena import C_TYPES
from .emit_c_family import family_of_core
from .errors import EmitError, ImportModelError
from .graph import Array, DType, Graph, Value
from .importers.tflite import import_tflite
from .oracles import write_files
from .reference import quantize_input

Golden = tuple[bytes, ...]  # outputs that are expected, one for each sample

SAMPLES = 4  # golden inputs of a .tflite, which brings none
_SEED = 0

# What emit_c writes.
_CALL = re.compile(r"^    /\* (\w+): (.*) \*/\n    (ek_\w+)\(", re.M)
_ARENA = re.compile(r"^#define MODEL_ARENA_SIZE (\d+)$", re.M)
_OUTPUTS = re.compile(r"static const (\w+) golden_outputs\[.*?= \{(.*)\};", re.S)
_ROW = re.compile(r"\{([^{}]*)\}")
_KINDS = {c_type: kind.numpy.newbyteorder("<") for kind, c_type in C_TYPES.items()}


@dataclass(frozen=True, slots=True)
class LayerCost:
    """A layer's call with all that it calls, in the slowest invoke. `remark` has its shapes."""

    layer: str
    kernel: str
    remark: str
    instructions: int
    cycles_estimated: EstimateRecord | None


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """A function without its callees, mean of the golden vectors."""

    function: str
    instructions: int
    cycles_estimated: EstimateRecord | None


@dataclass(frozen=True, slots=True)
class BitExact:
    """Golden vectors that ran, and those whose outputs differ."""

    samples: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class CReport:
    """Generated C on one emulated core.

    `evidence` is "emulated". `instructions` are those of the slowest invoke; layers add up to it.
    Cycles are None where the profile has no cycles per instruction. `ram_total_bytes` is static
    memory, the arena within it, and stack; `code_bytes` has the layers' parameters, weights are
    apart. `notes` say what could not be told, and why.
    """

    target: str
    core: str
    evidence: str
    instructions: int
    cycles_estimated: EstimateRecord | None
    arena_bytes: int | None
    ram_static_bytes: int
    stack_bytes: int
    ram_total_bytes: int
    code_bytes: int
    weight_bytes: int
    bit_exact: BitExact
    per_layer: tuple[LayerCost, ...]
    per_function: tuple[FunctionCost, ...]
    notes: tuple[str, ...]


def measure_c(path: Path, target: Target) -> CReport:
    """Measure a folder of generated C, a quantized `.tflite` or an `.ekb` on the core of `target`.

    Raises:
        ImportModelError: `path` is none of these.
        EmitError: the model cannot be written as C, or a folder lacks golden vectors.
        BundleError: the bundle is damaged.
        MissingToolError: compiler or emulator is absent; says what to install.
        MeasurementError: the core has no emulated board, or the build or the run failed.
    """
    files = _files(path, target)
    golden = _golden_outputs(path, files)
    with tempfile.TemporaryDirectory(prefix="edgekiln-measure-") as name:
        counts = measure_folder(write_files(files, Path(name)), target)
    return _report(files, golden, counts, target)


def _files(path: Path, target: Target) -> Mapping[str, bytes]:
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.glob("*.[ch]"))}
    if path.suffix == ".ekb":
        return _of_bundle(open_bundle(path), target)
    if path.suffix != ".tflite":
        raise ImportModelError(
            f"{path}: give a folder of generated C, a quantized .tflite file or a bundle (.ekb)"
        )
    if not path.is_file():
        raise ImportModelError(f"{path}: there is no such file")
    graph = import_tflite(path.read_bytes(), path.stem)
    rng = np.random.default_rng(_SEED)
    return _emit(graph, _noise(rng, graph.input), target)


def _noise(rng: np.random.Generator, value: Value) -> Array:
    """Samples over all codes of the value; floats from -1 to 1."""
    shape, kind = (SAMPLES, *value.shape[1:]), value.dtype.numpy
    if value.dtype is DType.FLOAT32:
        return rng.uniform(-1, 1, shape).astype(kind)
    ends = np.iinfo(kind)
    return rng.integers(ends.min, ends.max + 1, shape).astype(kind)


def _of_bundle(bundle: Bundle, target: Target) -> Mapping[str, bytes]:
    """The target's own C, else C that is made from a .tflite artifact."""
    artifacts = bundle.manifest.artifacts
    for artifact in artifacts:
        if (artifact.format, artifact.target) == ("c", target.id):
            return bundle.below(artifact.path)
    for artifact in artifacts:
        if artifact.format == "tflite":
            graph = import_tflite(bundle.read(artifact.path), bundle.manifest.name)
            x = bundle.contract.preprocess(bundle.contract.check(bundle.golden().inputs))
            golden = quantize_input(graph, x.reshape(-1, *graph.input.shape[1:]))
            return _emit(graph, golden, target)
    raise EmitError(
        f"{bundle.source}: neither C for '{target.id}' nor a .tflite to make it from; compile "
        f"with --target {target.id} --format c"
    )


def _emit(graph: Graph, golden: Array, target: Target) -> Mapping[str, bytes]:
    return emit_c(graph, golden, family_of_core(target.core)).files


def _report(
    files: Mapping[str, bytes], golden: Golden, counts: FolderCounts, target: Target
) -> CReport:
    emulation = counts.emulation
    layers, notes = _layers(_text(files, "model.c"), counts, target)
    arena = _ARENA.search(_text(files, "model.h"))
    if target.cycles_per_instruction is None:
        notes += (f"target '{target.id}' states no cycles_per_instruction; cycles are not known",)
    return CReport(
        target=target.id,
        core=target.core,
        evidence=Tier.T2.word,
        instructions=emulation.instructions,
        cycles_estimated=_cycles(emulation.instructions, target),
        arena_bytes=int(arena[1]) if arena else None,
        ram_static_bytes=emulation.ram_bytes,
        stack_bytes=emulation.stack_bytes,
        ram_total_bytes=emulation.ram_bytes + emulation.stack_bytes,
        code_bytes=emulation.code_bytes,
        weight_bytes=emulation.weight_bytes,
        bit_exact=_compare(golden, emulation.outputs),
        per_layer=layers,
        per_function=tuple(
            FunctionCost(found.name, found.instructions, _cycles(found.instructions, target))
            for found in counts.functions
        ),
        notes=notes,
    )


def _text(files: Mapping[str, bytes], name: str) -> str:
    return files.get(name, b"").decode("utf-8", "replace")


def _cycles(instructions: int, target: Target) -> EstimateRecord | None:
    if target.cycles_per_instruction is None:
        return None
    low, value, high = (instructions * cycles for cycles in target.cycles_per_instruction)
    return record(Estimate(value, low, high, "cycles", Tier.T2, EVIDENCE_ID))


def _layers(
    model_c: str, counts: FolderCounts, target: Target
) -> tuple[tuple[LayerCost, ...], tuple[str, ...]]:
    """Calls under the names of model.c; none where it was changed and they no longer match."""
    named = _CALL.findall(model_c)
    if len(named) != len(counts.calls):
        note = (
            f"model_invoke makes {len(counts.calls)} calls and model.c names {len(named)} layers; "
            "layers are not told apart"
        )
        return (), (note,)
    layers = (
        LayerCost(layer, kernel, remark, count, _cycles(count, target))
        for (layer, remark, kernel), count in zip(named, counts.calls, strict=True)
    )
    return tuple(layers), ()


def _compare(expected: Golden, outputs: bytes) -> BitExact:
    size = len(expected[0])
    found = [outputs[start : start + size] for start in range(0, len(outputs), size)]
    equal = sum(a == b for a, b in zip(expected, found, strict=False))
    return BitExact(len(expected), max(len(expected), len(found)) - equal)


def _golden_outputs(path: Path, files: Mapping[str, bytes]) -> Golden:
    table = _OUTPUTS.search(_text(files, "golden.h"))
    rows = _ROW.findall(table[2]) if table else []
    if table is None or table[1] not in _KINDS or not rows:
        raise EmitError(f"{path}: no golden_outputs in golden.h; give a folder of generated C")
    return tuple(_bytes_of(row, _KINDS[table[1]]) for row in rows)


def _bytes_of(row: str, kind: np.dtype[Any]) -> bytes:
    """Elements as an emulated core has them in memory."""
    numbers = (number.strip().removesuffix("f") for number in row.split(","))
    return np.array([float(number) for number in numbers]).astype(kind).tobytes()

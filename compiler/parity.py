"""The parity certificate: every engine that can run an artifact here, on the same samples.

The oracle is the integer reference (`reference.run_int8`). LiteRT's reference kernels and
generated C must equal it; engines that round differently inside are held to `bounds`, from end to
end and layer by layer. The float model is compared too, without a bound: what quantization may cost
is the gate's business.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import Logits

from .bounds import FLOAT_BOUND, Bound, bound_of, layer_bound_of
from .errors import ParityError
from .graph import Array, Graph, Node
from .oracles import Engine, litert_tensors
from .reference import quantize_input, run_int8_all

Floats = npt.NDArray[np.float32]

LAYER_SAMPLES = 16
_MOST_NAMED = 3  # layers in one message
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")


class EngineRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One engine against the reference. `target` is empty where it does not matter.

    Codes differ by LSB, floats by a share of the largest output: one of the two is set.
    `mismatches` are samples with an output that differs at all.
    """

    engine: str
    format: str
    target: str
    version: str
    samples: int
    max_lsb: int | None
    beyond_one: int  # outputs off by more than one step
    outputs: int
    label_flips: int
    bound: str
    passed: bool
    max_relative: float | None = None
    mean_lsb: float = 0.0
    kernels: str = ""  # the family, where C of several was run
    mismatches: int = 0

    @property
    def form(self) -> str:
        """The format as text, with the kernels where they are told."""
        return f"{self.format}, {self.kernels} kernels" if self.kernels else self.format

    @property
    def distance(self) -> str:
        """The largest difference as text."""
        if self.max_lsb is not None:
            return f"{self.max_lsb} LSB"
        return f"{self.max_relative or 0.0:.2g} relative"


class LayerRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer of an engine against the reference's.

    LiteRT's reference kernels run the whole file; other engines get the reference's inputs, so
    that each layer answers for itself. `beyond_one` counts codes that are off by more than one
    step, `off` those that are off at all; of float layers only `diverges` is known.
    """

    name: str
    op: str
    max_lsb: int
    diverges: bool = False
    engine: str = Engine.LITERT_REFERENCE.value
    off: int = 0
    beyond_one: int = 0
    elements: int = 0


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`certificate.json`.

    `first_diverging` names the first layer over its bound, or is empty; `diverging` does so for
    each engine that has one. `depth` is what end-to-end bounds follow.
    """

    numerics: str
    samples: int
    engines: tuple[EngineRow, ...]
    layers: tuple[LayerRow, ...]
    first_diverging: str
    machine: str
    cpu_flags: tuple[str, ...]
    missing: tuple[str, ...]  # engines that did not run, and why
    diverging: dict[str, str] = msgspec.field(default_factory=dict)
    depth: int = 0
    golden: tuple[EngineRow, ...] = ()  # the same engines on the bundle's golden vectors
    schema: int = 1

    def to_bytes(self) -> bytes:
        """Sorted keys, two spaces: a person reads it."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"


def compare(
    engine: Engine,
    fmt: str,
    target: str,
    version: str,
    expected: Logits,
    found: Logits,
    depth: int = 0,
    numerics: str = "",
) -> EngineRow:
    """One row; `expected` and `found` are logits (n, classes) of the same samples and format.

    `depth` and `numerics` are the graph's (`bounds.depth_of`, `numerics_of`); 0 and an empty text
    where they are not known.

    Raises:
        ParityError: they differ in shape or number format.
    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        raise ParityError(
            f"{engine}: gave {found.dtype} outputs of shape {found.shape}, the reference "
            f"{expected.dtype} of {expected.shape}"
        )
    flips = int((expected.argmax(axis=1) != found.argmax(axis=1)).sum())
    row = EngineRow(
        engine=engine.value,
        format=fmt,
        target=target,
        version=version,
        samples=len(expected),
        max_lsb=None,
        beyond_one=0,
        outputs=expected.size,
        label_flips=flips,
        bound="none",
        passed=True,
        mismatches=int((expected != found).any(axis=1).sum()),
    )
    if expected.dtype.kind == "f":
        return _judged_floats(row, engine, expected, found)
    bound = bound_of(engine, depth, expected.dtype, numerics)
    return _judged_codes(row, bound, expected, found)


def _judged_codes(
    row: EngineRow, bound: Bound | None, expected: Logits, found: Logits
) -> EngineRow:
    distance = np.abs(expected.astype(np.int32) - found.astype(np.int32))
    beyond = int((distance > 1).sum())
    worst = int(distance.max(initial=0))
    mean = float(distance.mean()) if distance.size else 0.0
    measured = msgspec.structs.replace(row, max_lsb=worst, beyond_one=beyond, mean_lsb=mean)
    if bound is None:
        return measured
    passed = bound.holds(worst, mean)
    return msgspec.structs.replace(measured, bound=bound.text, passed=passed)


def _judged_floats(row: EngineRow, engine: Engine, expected: Logits, found: Logits) -> EngineRow:
    relative = relative_error(expected, found)
    measured = msgspec.structs.replace(row, max_relative=relative)
    if engine is Engine.FLOAT:
        return measured
    passed = FLOAT_BOUND.holds(relative, row.label_flips, row.samples)
    return msgspec.structs.replace(measured, bound=FLOAT_BOUND.text, passed=passed)


def relative_error(expected: Logits, found: Logits) -> float:
    """The largest difference as a share of the largest |expected|; infinite for what is none."""
    if not np.isfinite(found).all():
        return math.inf
    largest = float(np.abs(expected).max(initial=0.0))
    distance = float(np.abs(expected.astype(np.float64) - found).max(initial=0.0))
    return distance / largest if largest else distance


def compare_layers(graph: Graph, model: bytes, x: Floats) -> tuple[LayerRow, ...]:
    """Every layer's output in LiteRT's reference kernels against ours; `x` is preprocessed."""
    theirs = litert_tensors(model, x, [node.output for node in graph.nodes])
    ours = run_int8_all(graph, quantize_input(graph, x))
    rows = []
    for node in graph.nodes:
        of_constants = all(graph.values[name].data is not None for name in node.inputs)
        mine = ours[node.output]
        if node.output not in theirs or of_constants or theirs[node.output].size != mine.size:
            continue  # another operator's work in the file, or a weight that is widened once
        found = theirs[node.output].reshape(mine.shape)
        rows.append(layer_row(node, Engine.LITERT_REFERENCE, mine, found))
    return tuple(rows)


def layer_row(node: Node, engine: Engine, mine: Array, theirs: Array) -> LayerRow:
    """`theirs` of `engine` against the reference's `mine`, both (n, …) of the same samples."""
    row = LayerRow(node.name, node.op.value, 0, engine=engine.value, elements=mine.size)
    if mine.dtype.kind == "f":
        diverges = relative_error(mine, theirs) > FLOAT_BOUND.max_relative
        return msgspec.structs.replace(row, diverges=diverges)
    distance = np.abs(mine.astype(np.int32) - theirs.astype(np.int32))
    worst, off = int(distance.max(initial=0)), int(np.count_nonzero(distance))
    beyond = int(np.count_nonzero(distance > 1))
    bound = layer_bound_of(engine, mine.dtype)
    return msgspec.structs.replace(
        row,
        max_lsb=worst,
        off=off,
        beyond_one=beyond,
        diverges=not bound.holds(worst, beyond, mine.size),
    )


def first_diverging(layers: tuple[LayerRow, ...]) -> str:
    """Name of the first layer with a difference, or an empty string."""
    return next((row.name for row in layers if row.diverges), "")


def diverging(layers: tuple[LayerRow, ...]) -> dict[str, str]:
    """The first layer over its bound, by engine; engines without one are not named."""
    found: dict[str, str] = {}
    for row in layers:
        if row.diverges:
            found.setdefault(row.engine, row.name)
    return found


def enforce_parity(certificate: Certificate) -> None:
    """Raises ParityError for engines and layers over their bound, in one line."""
    rows = [failure_text(row) for row in certificate.engines if not row.passed]
    alone = (row for row in certificate.layers if row.engine != Engine.LITERT_REFERENCE)
    rows += [_layer_text(row) for row in alone if row.diverges][:_MOST_NAMED]
    failures = "; ".join(rows)
    if not failures:
        return
    where = certificate.first_diverging
    raise ParityError(f"{failures}{f'; first diverging layer: {where}' if where else ''}")


def _layer_text(row: LayerRow) -> str:
    return (
        f"{row.engine}: layer '{row.name}' ({row.op}), fed with the reference's inputs, is off by "
        f"{row.max_lsb} LSB, {row.beyond_one} of {row.elements} by more than 1"
    )


def failure_text(row: EngineRow) -> str:
    """What a failed row says."""
    return (
        f"{row.engine} ({row.form}) differs from the integer reference on {row.samples} samples: "
        f"{row.distance}, {row.mean_lsb:.2g} in the mean, {row.label_flips} labels; its bound is "
        f"{row.bound}"
    )


def machine_name() -> str:
    """Processor architecture and system."""
    return f"{platform.machine()} {platform.system()}"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Instruction sets of this processor that choose kernels; empty where they are not told."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return ()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    present = set(lines[0].split(":", 1)[1].split()) if lines else set()
    return tuple(flag for flag in _CPU_FLAGS if flag in present)

"""The parity certificate: every engine that can run an artifact here, on the same samples.

The oracle is the integer reference (`reference.run_int8`). LiteRT's reference kernels and
generated C must equal it; engines that round differently inside are held to `bounds`. The float
model is compared too, without a bound: what quantization may cost is the gate's business.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgekiln.runtime.quant import Logits

from .bounds import BOUNDS, FLOAT_BOUND
from .errors import ParityError
from .graph import Array, Graph, Node
from .oracles import Engine, litert_tensors
from .reference import quantize_input, run_int8_all

Floats = npt.NDArray[np.float32]

LAYER_SAMPLES = 16
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")


class EngineRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One engine against the reference. `target` is empty where it does not matter.

    Codes differ by LSB, floats by a share of the largest output: one of the two is set.
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

    @property
    def distance(self) -> str:
        """The largest difference as text."""
        if self.max_lsb is not None:
            return f"{self.max_lsb} LSB"
        return f"{self.max_relative or 0.0:.2g} relative"


class LayerRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer's largest difference between LiteRT's reference kernels and ours.

    `max_lsb` counts steps of codes; of float layers only `diverges` is known.
    """

    name: str
    op: str
    max_lsb: int
    diverges: bool = False


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`certificate.json`. `first_diverging` names a layer, or is empty."""

    numerics: str
    samples: int
    engines: tuple[EngineRow, ...]
    layers: tuple[LayerRow, ...]
    first_diverging: str
    machine: str
    cpu_flags: tuple[str, ...]
    missing: tuple[str, ...]  # engines that did not run, and why
    golden: tuple[EngineRow, ...] = ()  # the same engines on the bundle's golden vectors
    schema: int = 1

    def to_bytes(self) -> bytes:
        """Sorted keys, two spaces: a person reads it."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"


def compare(
    engine: Engine, fmt: str, target: str, version: str, expected: Logits, found: Logits
) -> EngineRow:
    """One row; `expected` and `found` are logits (n, classes) of the same samples and format.

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
    )
    judged = _judged_floats if expected.dtype.kind == "f" else _judged_codes
    return judged(row, engine, expected, found)


def _judged_codes(row: EngineRow, engine: Engine, expected: Logits, found: Logits) -> EngineRow:
    distance = np.abs(expected.astype(np.int32) - found.astype(np.int32))
    beyond = int((distance > 1).sum())
    worst = int(distance.max(initial=0))
    measured = msgspec.structs.replace(row, max_lsb=worst, beyond_one=beyond)
    bound = BOUNDS.get(engine)
    if bound is None:
        return measured
    passed = bound.holds(worst, beyond, distance.size, row.label_flips, row.samples)
    return msgspec.structs.replace(measured, bound=bound.text, passed=passed)


def _judged_floats(row: EngineRow, engine: Engine, expected: Logits, found: Logits) -> EngineRow:
    relative = relative_error(expected, found)
    measured = msgspec.structs.replace(row, max_relative=relative)
    if engine not in BOUNDS:
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
    theirs = litert_tensors(model, x)
    ours = run_int8_all(graph, quantize_input(graph, x))
    rows = []
    for node in graph.nodes:
        if node.output not in theirs:
            continue
        mine = ours[node.output]
        rows.append(_layer_row(node, mine, theirs[node.output].reshape(mine.shape)))
    return tuple(rows)


def _layer_row(node: Node, mine: Array, theirs: Array) -> LayerRow:
    if mine.dtype.kind == "f":
        diverges = relative_error(mine, theirs) > FLOAT_BOUND.max_relative
        return LayerRow(node.name, node.op.value, 0, diverges)
    worst = int(np.abs(mine.astype(np.int32) - theirs.astype(np.int32)).max(initial=0))
    return LayerRow(node.name, node.op.value, worst, worst > 0)


def first_diverging(layers: tuple[LayerRow, ...]) -> str:
    """Name of the first layer with a difference, or an empty string."""
    return next((row.name for row in layers if row.diverges), "")


def enforce_parity(certificate: Certificate) -> None:
    """Raises ParityError for the engines over their bound, in one line."""
    failures = "; ".join(failure_text(row) for row in certificate.engines if not row.passed)
    if not failures:
        return
    where = certificate.first_diverging
    raise ParityError(f"{failures}{f'; first diverging layer: {where}' if where else ''}")


def failure_text(row: EngineRow) -> str:
    """What a failed row says."""
    return (
        f"{row.engine} ({row.format}) differs from the integer reference on {row.samples} samples: "
        f"{row.distance}, {row.beyond_one} of {row.outputs} outputs beyond 1 LSB, "
        f"{row.label_flips} labels; its bound is {row.bound}"
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

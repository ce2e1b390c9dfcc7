"""The parity certificate: every engine that can run an artifact here, on the same samples.

The oracle is the integer reference (`reference.run_int8`). LiteRT's reference kernels and
generated C must equal it; engines that round differently inside are held to `BOUNDS`. The float
model is compared too, without a bound: what quantization may cost is the gate's business.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from .errors import ParityError
from .graph import Graph
from .oracles import Engine, litert_tensors
from .reference import quantize_input, run_int8_all

Int8 = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]

LAYER_SAMPLES = 16
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")


@dataclass(frozen=True, slots=True)
class Bound:
    """The most an engine may differ from the integer reference.

    `max_lsb` holds for every output; `beyond_one_share` for outputs that are off by more than one
    step; `flip_share` for samples with another label. One flip is always let through where a
    share is given: with few samples a single tie would break it.
    """

    max_lsb: int
    beyond_one_share: float
    flip_share: float

    @property
    def text(self) -> str:
        """One line for messages."""
        if self.max_lsb == 0:
            return "byte for byte"
        return (
            f"at most {self.max_lsb} LSB, {self.beyond_one_share:.0%} of outputs beyond 1 LSB, "
            f"{self.flip_share:.0%} of labels"
        )


EXACT = Bound(0, 0.0, 0.0)
# XNNPACK and ONNX Runtime requantize in float32, round ties to even where the specification rounds
# them up, and ONNX Runtime computes in float what it cannot fuse. A layer is then off by one step
# here and there, and later layers can amplify that: on trained networks we saw 1 to 2 LSB, on 250
# random untrained ones up to 11 (XNNPACK) and 16 (ONNX Runtime) with 3 % and 5 % of labels. A wrong
# layout, padding or scale is off by tens and flips most labels, which is what the bounds catch.
BOUNDS: Mapping[Engine, Bound] = {
    Engine.LITERT_REFERENCE: EXACT,
    Engine.C_HOST: EXACT,
    Engine.C_EMULATED: EXACT,
    Engine.LITERT_XNNPACK: Bound(16, 0.3, 0.05),
    Engine.ONNXRUNTIME: Bound(24, 0.5, 0.05),
}


class EngineRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One engine against the integer reference. `target` is empty where it does not matter."""

    engine: str
    format: str
    target: str
    version: str
    samples: int
    max_lsb: int
    beyond_one: int  # outputs off by more than one step
    outputs: int
    label_flips: int
    bound: str
    passed: bool


class LayerRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One layer's largest difference between LiteRT's reference kernels and ours."""

    name: str
    op: str
    max_lsb: int


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
    schema: int = 1

    def to_bytes(self) -> bytes:
        """Sorted keys, two spaces: a person reads it."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"


def compare(
    engine: Engine, fmt: str, target: str, version: str, expected: Int8, found: Int8
) -> EngineRow:
    """One row; `expected` and `found` are int8 logits (n, classes) of the same samples."""
    if expected.shape != found.shape:
        raise ParityError(
            f"{engine}: gave outputs of shape {found.shape}, the reference {expected.shape}"
        )
    distance = np.abs(expected.astype(np.int32) - found.astype(np.int32))
    flips = int((expected.argmax(axis=1) != found.argmax(axis=1)).sum())
    bound = BOUNDS.get(engine)
    beyond = int((distance > 1).sum())
    worst = int(distance.max(initial=0))
    return EngineRow(
        engine=engine.value,
        format=fmt,
        target=target,
        version=version,
        samples=len(expected),
        max_lsb=worst,
        beyond_one=beyond,
        outputs=distance.size,
        label_flips=flips,
        bound="none" if bound is None else bound.text,
        passed=bound is None or _within(bound, worst, beyond, distance.size, flips, len(expected)),
    )


def compare_layers(graph: Graph, model: bytes, x: Floats) -> tuple[LayerRow, ...]:
    """Every layer's output in LiteRT's reference kernels against ours; `x` is preprocessed."""
    theirs = litert_tensors(model, x)
    ours = run_int8_all(graph, quantize_input(graph, x))
    rows = []
    for node in graph.nodes:
        if node.output not in theirs:
            continue
        mine = ours[node.output].astype(np.int32)
        distance = np.abs(mine - theirs[node.output].reshape(mine.shape).astype(np.int32))
        rows.append(LayerRow(node.name, node.op.value, int(distance.max(initial=0))))
    return tuple(rows)


def first_diverging(layers: tuple[LayerRow, ...]) -> str:
    """Name of the first layer with a difference, or an empty string."""
    return next((row.name for row in layers if row.max_lsb), "")


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
        f"{row.max_lsb} LSB, {row.beyond_one} of {row.outputs} outputs beyond 1 LSB, "
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


def _within(bound: Bound, worst: int, beyond: int, outputs: int, flips: int, samples: int) -> bool:
    if bound == EXACT:
        return worst == 0
    return (
        worst <= bound.max_lsb
        and beyond <= max(1, bound.beyond_one_share * outputs)
        and flips <= max(1, bound.flip_share * samples)
    )

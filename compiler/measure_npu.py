"""`measure_npu`: a quantized model on the Ethos-U of a target, by what Vela says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.evidence import Tier
from edgekiln.targets.npu import Npu
from edgekiln.targets.target import Target

from .errors import CompileError, ImportModelError
from .npu_footprint import arena_limit
from .vela import VelaLayer, VelaReport, operators_of, run_vela

NOT_ACCURATE = (
    "Vela's authors do not call its cycles accurate (they ask for an FPGA): the latency has no "
    "interval and no budget is held to it"
)
_NAMED = 8  # operators of the CPU in one line


@dataclass(frozen=True, slots=True)
class NpuReport:
    """One model on one Ethos-U: `latency_ms` is Vela's cycles by the clock of the profile.

    `complete` is False where operators are left to the CPU, whose time is not in it. `notes` say
    what the figures are worth.
    """

    model: str
    target: str
    clock_hz: int
    tier: str
    evidence: str
    latency_ms: float
    complete: bool
    npu_operators: int
    cpu_operators: int
    vela: VelaReport
    notes: tuple[str, ...]


def measure_npu(path: Path, target: Target) -> NpuReport:
    """Compile a quantized `.tflite`, or that of an `.ekb`, with Vela for the NPU of `target`.

    Raises:
        ImportModelError: `path` is neither.
        BundleError: the bundle is damaged.
        MeasurementError: the profile does not say which NPU it is.
        MissingToolError: Vela is not installed.
        CompileError: Vela refuses the model, or leaves all of it to the CPU.
    """
    npu = npu_of(target)
    limit = arena_limit(target, target.memory.ram_available_bytes)
    report = run_vela(_model(path, target), npu, limit)
    left = report.left_to_cpu
    if report.npu_operators == 0:
        raise CompileError(
            f"{path}: {npu.accelerator} runs none of its operators ({operators_of(left)}); "
            "give a model that is quantized to int8"
        )
    return NpuReport(
        model=str(path),
        target=target.id,
        clock_hz=target.clock_hz,
        tier=Tier.T2.name,
        evidence=Tier.T2.word,
        latency_ms=1e3 * report.cycles.total / target.clock_hz,
        complete=not left,
        npu_operators=report.npu_operators,
        cpu_operators=len(left),
        vela=report,
        notes=tuple(_notes(report)),
    )


def npu_of(target: Target) -> Npu:
    """What Vela compiles for; MeasurementError where the profile does not say."""
    if target.npu is None:
        raise MeasurementError(
            f"target '{target.id}' has no [npu] in its profile; state accelerator, system_config "
            "and memory_mode there, if it is an Ethos-U"
        )
    return target.npu


def _model(path: Path, target: Target) -> bytes:
    if path.suffix == ".ekb":
        return _of_bundle(open_bundle(path), target)
    if path.suffix != ".tflite":
        raise ImportModelError(f"{path}: give a quantized .tflite file or a bundle (.ekb)")
    if not path.is_file():
        raise ImportModelError(f"{path}: there is no such file")
    return path.read_bytes()


def _of_bundle(bundle: Bundle, target: Target) -> bytes:
    """The target's own file, else the first of any target."""
    found = [item for item in bundle.manifest.artifacts if item.format == "tflite"]
    if not found:
        raise ImportModelError(f"{bundle.source}: no .tflite inside; compile with --format tflite")
    own = [item for item in found if item.target == target.id]
    return bundle.read((own or found)[0].path)


def _notes(report: VelaReport) -> Iterator[str]:
    yield f"Vela {report.vela_version}: {NOT_ACCURATE}"
    yield (
        f"{report.npu.system_config} is Vela's generic system configuration of that class, "
        "not the board's"
    )
    if left := report.left_to_cpu:
        yield f"the latency lacks what is left to the CPU: {_named(left)}"


def _named(layers: tuple[VelaLayer, ...]) -> str:
    """Keras joins the names of what it fused by semicolons; the first is enough here."""
    more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    names = (f"{layer.operator} '{layer.name.partition(';')[0]}'" for layer in layers[:_NAMED])
    return ", ".join(names) + more

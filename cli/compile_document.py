"""`edgekiln compile --json`: what a compile found out, as one document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from edgekiln.compiler.c_report import BitExact, CFigures, Cycles, LayerCost
    from edgekiln.compiler.parity import Certificate
    from edgekiln.compiler.request import CompileResult
    from edgekiln.compiler.sensitivity import LayerSensitivity
    from edgekiln.runtime.manifest import Artifact


class ArtifactDocument(msgspec.Struct, frozen=True):
    """One artifact."""

    target: str
    format: str
    path: str
    bytes: int
    sha256: str


class CArtifactDocument(ArtifactDocument, frozen=True):
    """One artifact of generated C: what `edgekiln targets measure` tells of it.

    Null is what only a run on an emulated core would tell, where there was none; a note says why.
    """

    instructions: int | None
    cycles_estimated: Cycles | None
    arena_bytes: int | None
    scratch_bytes: int | None
    stack_bytes: int | None
    ram_total_bytes: int | None
    code_bytes: int | None
    weight_bytes: int
    lower_bound_arena_bytes: int | None
    per_layer: tuple[LayerCost, ...] | None
    bit_exact: BitExact | None


class AccuracyDocument(msgspec.Struct, frozen=True):
    """On the validation split: each format in its own engine, `reference` in numpy.

    `absent` says why a number is null.
    """

    exact: float | None = msgspec.field(name="float")
    onnx: float | None
    tflite: float | None
    reference: float
    absent: dict[str, str]


class ParityDocument(msgspec.Struct, frozen=True):
    """The certificate, and the numbers that are asked for first.

    LSB are null where an engine did not run or the outputs are floats; `label_flips` are those of
    the engine that flips most, the float model left out.
    """

    reference_vs_litert_ref_max_lsb: int | None
    xnnpack_max_lsb: int | None
    ort_max_lsb: int | None
    label_flips: int
    samples: int
    first_diverging_layer: str
    numerics: str
    engines: object
    layers: object
    machine: str
    cpu_flags: tuple[str, ...]
    missing: tuple[str, ...]


class CompileDocument(msgspec.Struct, frozen=True):
    """The whole document."""

    bundle: str
    bundle_id: str
    artifacts: tuple[ArtifactDocument, ...]
    accuracy: AccuracyDocument
    parity: ParityDocument
    gate: object
    notes: tuple[str, ...]
    wall_s: float
    peak_rss_mb: float
    sensitivity: object = msgspec.UNSET  # only where it was asked for
    update: object = msgspec.UNSET  # only with a base


def compile_document(
    out: Path,
    result: CompileResult,
    layers: Sequence[LayerSensitivity],
    wall_s: float,
    peak_rss_mb: float,
) -> CompileDocument:
    """The document of `result`, written to `out`; `layers` where sensitivity was asked for."""
    return CompileDocument(
        bundle=str(out),
        bundle_id=result.bundle_id,
        artifacts=tuple(
            _artifact(listed, report.figures)
            for listed, report in zip(result.manifest.artifacts, result.artifacts, strict=True)
        ),
        accuracy=_accuracy(result),
        parity=_parity(result.certificate),
        gate=result.manifest.gate,
        notes=result.notes,
        wall_s=wall_s,
        peak_rss_mb=peak_rss_mb,
        sensitivity=layers or msgspec.UNSET,
        update=result.update or msgspec.UNSET,
    )


def _artifact(listed: Artifact, figures: CFigures | None) -> ArtifactDocument:
    head = (listed.target, listed.format, listed.path, listed.bytes, listed.sha256)
    if figures is None:
        return ArtifactDocument(*head)
    return CArtifactDocument(
        *head,
        instructions=figures.instructions,
        cycles_estimated=figures.cycles_estimated,
        arena_bytes=figures.arena_bytes,
        scratch_bytes=figures.scratch_bytes,
        stack_bytes=figures.stack_bytes,
        ram_total_bytes=figures.ram_total_bytes,
        code_bytes=figures.code_bytes,
        weight_bytes=figures.weight_bytes,
        lower_bound_arena_bytes=figures.lower_bound_arena_bytes,
        per_layer=figures.per_layer,
        bit_exact=figures.bit_exact,
    )


def _accuracy(result: CompileResult) -> AccuracyDocument:
    from edgekiln.compiler.pipeline import CAME_QUANTIZED

    found = {row.format: row for row in result.accuracies}
    absent = {name: row.reason for name, row in found.items() if row.accuracy is None}
    if result.manifest.accuracy_float is None:
        absent["float"] = CAME_QUANTIZED
    return AccuracyDocument(
        exact=result.manifest.accuracy_float,
        onnx=found["onnx"].accuracy,
        tflite=found["tflite"].accuracy,
        reference=result.manifest.accuracy_int8,
        absent=absent,
    )


def _parity(certificate: Certificate) -> ParityDocument:
    from edgekiln.compiler.oracles import Engine

    rows = [row for row in certificate.engines if row.engine != Engine.FLOAT]
    worst = {row.engine: row.max_lsb for row in rows}
    return ParityDocument(
        reference_vs_litert_ref_max_lsb=worst.get(Engine.LITERT_REFERENCE),
        xnnpack_max_lsb=worst.get(Engine.LITERT_XNNPACK),
        ort_max_lsb=worst.get(Engine.ONNXRUNTIME),
        label_flips=max((row.label_flips for row in rows), default=0),
        samples=certificate.samples,
        first_diverging_layer=certificate.first_diverging,
        numerics=certificate.numerics,
        engines=certificate.engines,
        layers=certificate.layers,
        machine=certificate.machine,
        cpu_flags=certificate.cpu_flags,
        missing=certificate.missing,
    )

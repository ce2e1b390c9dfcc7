"""`footprint_on`: RAM and flash of an artifact, for an Ethos-U those of what Vela makes of it.

A file for an Ethos-U goes through Vela before it is stored, and Vela lays out its activations
anew. Where Vela is not installed, refuses the file, or leaves operators to the CPU, whose memory
it does not plan, the arena planner and the emitter stand in, and a sentence says so.
"""

from __future__ import annotations

from edgekiln.targets.errors import MissingToolError
from edgekiln.targets.evidence import Estimate, Footprint, Tier
from edgekiln.targets.target import Target

from .artifacts import EmittedArtifact
from .errors import CompileError
from .vela import VelaReport, operators_of, run_vela

_EVIDENCE = "vela"


def footprint_on(
    target: Target, artifact: EmittedArtifact, planned: Footprint, ram_limit_bytes: int | None
) -> tuple[Footprint, str]:
    """The footprint, and a sentence on what it rests on where Vela was asked; else an empty one.

    `planned` is that of planner and emitter (T0); Vela's, for the RAM that is allowed, is T2.
    """
    if target.npu is None or artifact.format != "tflite":
        return planned, ""
    try:
        report = run_vela(artifact.model, target.npu, arena_limit(target, ram_limit_bytes))
    except (MissingToolError, CompileError) as error:
        return planned, f"RAM and flash are planned, not Vela's: {error}"
    if left := report.left_to_cpu:
        names = operators_of(left)
        return planned, f"RAM and flash are planned, not Vela's: it leaves {names} to the CPU"
    said = f"RAM and flash are of the file that Vela {report.vela_version} makes"
    return _compiled(target, planned.latency, report), said


def arena_limit(target: Target, ram_limit_bytes: int | None) -> int | None:
    """What the runtime leaves for activations of the RAM that is allowed."""
    return None if ram_limit_bytes is None else ram_limit_bytes - target.runtime.ram_overhead


def _compiled(target: Target, latency: Estimate | None, report: VelaReport) -> Footprint:
    runtime = target.runtime
    ram = report.ram_bytes + runtime.ram_overhead
    flash = report.model_bytes + runtime.flash_overhead
    return Footprint(
        latency=latency,
        ram=Estimate.exact(ram, "bytes", Tier.T2, _EVIDENCE),
        flash=Estimate.exact(flash, "bytes", Tier.T2, _EVIDENCE),
    )

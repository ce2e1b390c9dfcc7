"""`edgekiln targets measure` for an Ethos-U: what Vela makes of a model and says of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .console import print_json, print_table, say

if TYPE_CHECKING:
    from edgekiln.compiler.measure_npu import NpuReport
    from edgekiln.targets import Target


def measure_on_npu(model: Path, target: Target, *, as_json: bool) -> None:
    """Print what Vela reports of MODEL on the NPU of `target`, and what that is worth."""
    from edgekiln.compiler.measure_npu import measure_npu

    report = measure_npu(model, target)
    for note in report.notes:
        say(note)
    if as_json:
        print_json(report)
        return
    layers = [
        (layer.name, layer.operator, layer.step, layer.place, _cycles(layer.place, layer.cycles))
        for layer in report.vela.layers
    ]
    columns = ("layer", "operator", "as", "on", "cycles, Vela's")
    print_table(f"Operators on {report.vela.npu.accelerator}", columns, layers)
    print_table("The whole", ("what", "figure"), _whole(report))


def _cycles(place: str, cycles: int) -> str:
    return f"{cycles:,}" if place == "NPU" else "not known"


def _whole(report: NpuReport) -> list[tuple[str, str]]:
    vela, cycles = report.vela, report.vela.cycles
    npu = vela.npu
    worth = "no interval" if report.complete else "no interval, without the CPU's operators"
    return [
        (f"latency, {report.evidence} ({report.tier})", f"{report.latency_ms:.4g} ms, {worth}"),
        ("clock", f"{report.clock_hz / 1e6:.0f} MHz"),
        ("cycles", f"{cycles.total:,}"),
        ("of these the NPU's arithmetic, which overlaps with", f"{cycles.npu:,}"),
        ("SRAM", f"{cycles.sram:,}"),
        ("DRAM", f"{cycles.dram:,}"),
        ("on-chip flash", f"{cycles.on_chip_flash:,}"),
        ("off-chip flash", f"{cycles.off_chip_flash:,}"),
        ("operators on the NPU", f"{report.npu_operators:,}"),
        ("operators left to the CPU", f"{report.cpu_operators:,}"),
        ("SRAM used", f"{vela.sram_bytes:,} bytes"),
        ("DRAM used", f"{vela.dram_bytes:,} bytes"),
        ("on-chip flash used", f"{vela.on_chip_flash_bytes:,} bytes"),
        ("off-chip flash used", f"{vela.off_chip_flash_bytes:,} bytes"),
        ("activations in", vela.activations_in),
        ("file that Vela writes", f"{vela.model_bytes:,} bytes"),
        ("Vela", f"{vela.vela_version}, {npu.system_config}, {npu.memory_mode}"),
    ]

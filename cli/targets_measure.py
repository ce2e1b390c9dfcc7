"""`edgekiln targets measure`: generated C on an emulated core, layer by layer.

Hosts are timed, and for an Ethos-U Vela reports.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, print_table, say
from .errors import CheckFailedError
from .project import profile_folders
from .targets_npu import measure_on_npu
from .targets_time import time_on_host

if TYPE_CHECKING:
    from edgekiln.compiler.c_report import Cycles
    from edgekiln.compiler.measure_c import CReport


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_id", required=True, help="An emulated core, an Ethos-U, or host.")
@click.option("--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here.")
@click.option(
    "--budget-s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="On a host: the longest that one artifact is timed.",
)
@common_options
def measure(
    model: Path, target_id: str, project: Path | None, budget_s: float, as_json: bool
) -> None:
    """Measure MODEL: count on the emulated core of a microcontroller, time on this host.

    Emulated, MODEL is a folder of generated C in any layout of `edgekiln export`, a quantized
    .tflite or a bundle (.ekb): instructions per layer and per function are exact and repeatable,
    cycles are estimated from them (T2). With --target host, MODEL is a .tflite, an .onnx or a
    bundle: the median of one inference with its 95 % interval (T3), or the reasons why this machine
    is too busy to certify one. For an Ethos-U, MODEL is a quantized .tflite or a bundle: what Vela
    compiles it to, with cycles that are Vela's own estimate (T2, no interval).
    """
    need_extra("onnx")
    from edgekiln.compiler.measure_c import measure_c
    from edgekiln.targets import load_target

    target = load_target(target_id, profile_folders(project))
    if target.device_class == "host":
        time_on_host(model, target, budget_s, as_json=as_json)
        return
    if target.device_class == "npu":
        measure_on_npu(model, target, as_json=as_json)
        return
    report = measure_c(model, target)
    for note in report.notes:
        say(note)
    if as_json:
        print_json(report)
    else:
        _print(report)
    exact = report.bit_exact
    if exact is not None and exact.mismatches:
        raise CheckFailedError(
            f"{model}: {exact.mismatches} of {exact.samples} golden vectors differ on {report.core}"
        )


def _print(report: CReport) -> None:
    layers = [
        (cost.layer, cost.kernel, f"{cost.instructions:,}", _cycles(cost.cycles_estimated))
        for cost in report.per_layer or ()
    ]
    if layers:
        columns = ("layer", "kernel", "instructions", "cycles, estimated")
        print_table(f"Layers on {report.core}", columns, layers)
    functions = [
        (cost.function, f"{cost.instructions:,}", _cycles(cost.cycles_estimated))
        for cost in report.per_function
    ]
    heads = ("function", "own instructions", "cycles, estimated")
    print_table(f"Functions on {report.core}", heads, functions)
    print_table("The whole", ("what", "figure"), _whole(report))


def _whole(report: CReport) -> list[tuple[str, str]]:
    exact = report.bit_exact
    differing = f"{exact.mismatches} of {exact.samples}" if exact else "not known"
    return [
        (f"instructions, {report.evidence}", _number(report.instructions)),
        ("cycles, estimated (T2)", _cycles(report.cycles_estimated)),
        ("code", _bytes(report.code_bytes)),
        ("weights", _bytes(report.weight_bytes)),
        ("arena", _bytes(report.arena_bytes)),
        ("arena at least, by the planner's bound", _bytes(report.lower_bound_arena_bytes)),
        ("scratch, within the arena", _bytes(report.scratch_bytes)),
        ("static RAM, the arena within it", _bytes(report.ram_static_bytes)),
        ("stack", _bytes(report.stack_bytes)),
        ("RAM in all", _bytes(report.ram_total_bytes)),
        ("golden vectors that differ", differing),
    ]


def _number(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"


def _bytes(number: int | None) -> str:
    return "not known" if number is None else f"{number:,} bytes"


def _cycles(cycles: Cycles | None) -> str:
    if cycles is None:
        return "not known"
    return f"{cycles.value:,.0f} ({cycles.low:,.0f} to {cycles.high:,.0f})"

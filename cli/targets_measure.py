"""`edgekiln targets measure`: generated C on an emulated core, layer by layer; hosts are timed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, print_table, say
from .errors import CheckFailedError
from .project import profile_folders
from .targets_time import time_on_host

if TYPE_CHECKING:
    from edgekiln.compiler.measure_c import CReport
    from edgekiln.runtime.manifest import EstimateRecord


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_id", required=True, help="A profile with an emulated core.")
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

    Emulated, MODEL is a folder of generated C, an int8 .tflite or a bundle (.ekb): instructions
    per layer and per function are exact and repeatable, cycles are estimated from them (T2).
    With --target host, MODEL is a .tflite, an .onnx or a bundle: the median of one inference with
    its 95 % interval (T3), or the reasons why this machine is too busy to certify one.
    """
    need_extra("onnx")
    from edgekiln.compiler.measure_c import measure_c
    from edgekiln.targets import load_target

    target = load_target(target_id, profile_folders(project))
    if target.device_class == "host":
        time_on_host(model, target, budget_s, as_json=as_json)
        return
    report = measure_c(model, target)
    for note in report.notes:
        say(note)
    if as_json:
        print_json(report)
    else:
        _print(report)
    exact = report.bit_exact
    if exact.mismatches:
        raise CheckFailedError(
            f"{model}: {exact.mismatches} of {exact.samples} golden vectors differ on {report.core}"
        )


def _print(report: CReport) -> None:
    layers = [
        (cost.layer, cost.kernel, f"{cost.instructions:,}", _cycles(cost.cycles_estimated))
        for cost in report.per_layer
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
    arena = "" if report.arena_bytes is None else f", {report.arena_bytes:,} of them the arena"
    exact = report.bit_exact
    return [
        (f"instructions, {report.evidence}", f"{report.instructions:,}"),
        ("cycles, estimated (T2)", _cycles(report.cycles_estimated)),
        ("code", f"{report.code_bytes:,} bytes"),
        ("weights", f"{report.weight_bytes:,} bytes"),
        ("static RAM", f"{report.ram_static_bytes:,} bytes{arena}"),
        ("stack", f"{report.stack_bytes:,} bytes"),
        ("RAM in all", f"{report.ram_total_bytes:,} bytes"),
        ("golden vectors that differ", f"{exact.mismatches} of {exact.samples}"),
    ]


def _cycles(cycles: EstimateRecord | None) -> str:
    if cycles is None:
        return "not known"
    return f"{cycles.value:,.0f} ({cycles.low:,.0f} to {cycles.high:,.0f})"

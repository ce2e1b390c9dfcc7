"""`edgekiln targets`: the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, print_json, print_table
from .project import profile_folders
from .targets_calibrate import calibrate
from .targets_fewshot import fewshot
from .targets_measure import measure
from .targets_predict import predict

if TYPE_CHECKING:
    from edgekiln.targets import CostTable, OpCost, Target

COST_COLUMNS = (
    *("operator", "per call µs", "ns per MAC", "ns per byte", "ns per output"),
    *("ns per im2col byte", "ns per tail MAC"),
)
LOOP_COLUMNS = ("operator", "loop of its kernel", "ns a pass")


@click.group()
def targets() -> None:
    """What devices can do, and how well it is known."""


targets.add_command(calibrate)
targets.add_command(measure)
targets.add_command(fewshot)
targets.add_command(predict)


@targets.command("list")
@click.option("--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here.")
@common_options
def list_(project: Path | None, as_json: bool) -> None:
    """List every profile of the catalog and of your own folders."""
    from edgekiln.targets import list_targets

    found = list_targets(profile_folders(project))
    if as_json:
        print_json({"targets": found})
        return
    rows = [
        (
            target.id,
            target.title,
            target.core,
            f"{target.clock_hz / 1e6:.0f} MHz" if target.clock_hz else "–",
            _size(target.memory.ram_available_bytes),
            _size(target.memory.flash_available_bytes),
            _costs(target.costs),
        )
        for target in found
    ]
    columns = ("id", "title", "core", "clock", "RAM for a model", "flash for a model", "latency")
    print_table("Targets", columns, rows)


@targets.command()
@click.argument("target_id")
@click.option("--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here.")
@common_options
def show(target_id: str, project: Path | None, as_json: bool) -> None:
    """Show one profile: operators, cost tables, evidence."""
    from edgekiln.targets import load_target

    target = load_target(target_id, profile_folders(project))
    if as_json:
        print_json(target)
        return
    print(f"{target.id}: {target.title} ({target.device_class}, {target.core})")
    print(
        f"runtime {target.runtime.name} {target.runtime.version}; "
        f"formats {', '.join(target.formats)}"
    )
    print_costs(target)
    print_table(
        "Evidence",
        ("id", "tier", "source"),
        [(e.id, e.tier.name, e.source) for e in target.evidence],
    )


def write_profile(target: Target, path: Path) -> None:
    """The whole profile as one TOML file, whole or not at all; its id is the file's name."""
    from edgekiln.runtime.files import write_atomic
    from edgekiln.targets import profile_text

    write_atomic(path, profile_text(target, path.stem).encode())


def print_costs(target: Target) -> None:
    """The cost tables of a target, in the order of its profile, each after a line about it."""
    for table in target.costs:
        print(f"{_costs((table,))}, {table.per_run_us:.3g} µs a run, evidence {table.evidence_id}")
        print(f"  {_held_out(table)}")
        if any(cost.loops for cost in table.ops.values()):
            print_table("", LOOP_COLUMNS, list(_loop_rows(table)))
        else:
            print_table("", COST_COLUMNS, [_cost_row(op, cost) for op, cost in table.ops.items()])


def _held_out(table: CostTable) -> str:
    """How many models the interval rests on, and how they were held out."""
    count = len(table.heldout_ratios)
    if count == 0:
        return f"{table.samples} models; held-out ratios are not kept"
    how = "models apart from the fit" if table.interval == "split" else "models, each left out once"
    error = table.heldout_median_ape
    median = "" if error is None else f", median error {error:.1%}"
    return f"fitted to {table.samples}; interval of n = {count} {how}{median}"


def _loop_rows(table: CostTable) -> Iterator[tuple[str, ...]]:
    for op, cost in table.ops.items():
        for name, ns in sorted(cost.loops.items()):
            yield op, name, f"{ns:.4g}"


def _cost_row(op: str, cost: OpCost) -> tuple[str, ...]:
    figures = (
        *(cost.per_call_us, cost.ns_per_mac, cost.ns_per_byte, cost.ns_per_output),
        *(cost.ns_per_im2col_byte, cost.ns_per_tail_mac),
    )
    return (op, *(f"{figure:.3g}" for figure in figures))


def _size(size_bytes: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024  # type: ignore[assignment]
    return f"{size_bytes:.4g} GiB"


def _costs(tables: tuple[CostTable, ...]) -> str:
    if not tables:
        return "not calibrated: edgekiln targets calibrate"
    return "; ".join(
        f"{table.engine} {table.dtype} {table.tier.word} ({table.tier.name}, "
        f"-{1 - table.low_ratio:.0%} +{table.high_ratio - 1:.0%})"
        for table in tables
    )

"""`edgekiln targets`: the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, print_table, say
from .project import load_project

if TYPE_CHECKING:
    from edgekiln.targets import CostTable, Target


@click.group()
def targets() -> None:
    """What devices can do, and how well it is known."""


def profile_folders(project_file: Path | None) -> tuple[Path, ...]:
    """Folders with the user's own profiles, as edgekiln.toml names them."""
    return tuple(Path(folder) for folder in load_project(project_file).profiles)


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


@targets.command()
@click.argument("target_id")
@click.option("--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here.")
@click.option("--seed", default=0, show_default=True)
@common_options
def calibrate(target_id: str, project: Path | None, seed: int, as_json: bool) -> None:
    """Time probe models on this host (T3) or under emulation (T2) and fit the cost table."""
    need_extra("search")
    from edgekiln.compiler.probes import calibrate as run
    from edgekiln.targets import load_target

    profile = load_target(target_id, profile_folders(project))
    say(f"calibrating {target_id} …")
    target = run(profile, seed=seed)
    if as_json:
        print_json(target.costs[0])
        return
    print_costs(target)


def print_costs(target: Target) -> None:
    """The cost tables of a target, strongest first."""
    for table in target.costs:
        print_table(
            _costs((table,)),
            ("operator", "per call µs", "ns per MAC", "ns per byte"),
            [
                (op, f"{cost.per_call_us:.3g}", f"{cost.ns_per_mac:.3g}", f"{cost.ns_per_byte:.3g}")
                for op, cost in table.ops.items()
            ],
        )


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
        f"{table.dtype} {table.tier.word} ({table.tier.name}, "
        f"-{1 - table.low_ratio:.0%} +{table.high_ratio - 1:.0%})"
        for table in tables
    )

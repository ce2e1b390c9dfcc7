"""`edgekiln targets calibrate`: cost tables from probe models that are run now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, say
from .project import profile_folders
from .targets_output import print_tables, project_option
from .targets_tables import cost_table

if TYPE_CHECKING:
    from edgekiln.targets import Target


@click.command()
@click.argument("target_id", required=False)
@click.option("--target", "named", help="The same as TARGET_ID.")
@project_option
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--budget-min",
    type=click.FloatRange(min=0),
    help="How many minutes to measure: on a host beyond the few seconds that a table takes at "
    "least, which are usual, elsewhere at most.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the calibrated profile; its name is the target's id.",
)
@common_options
def calibrate(
    target_id: str | None,
    named: str | None,
    project: Path | None,
    seed: int,
    budget_min: float | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Time probe models on this host (T3) or under emulation (T2) and fit the cost tables.

    Models are chosen so that they say most about what operators cost; others that the fit does not
    see give the interval. On a host a few minutes (--budget-min 5) give far better tables than the
    usual seconds. With -o PROFILE.toml what was measured is kept in PROFILE.jsonl until the
    profile is written: a calibration that was stopped goes on from there. The profile is used where
    edgekiln.toml names its folder: profiles = ["FOLDER"].
    """
    need_extra("search")
    from edgekiln.compiler.probes import Measuring
    from edgekiln.compiler.probes import calibrate as run
    from edgekiln.targets import check_profile_path, load_target

    chosen = target_id or named
    if chosen is None or (target_id and named and target_id != named):
        raise click.UsageError("name one target: edgekiln targets calibrate TARGET_ID")
    if out is not None:
        check_profile_path(out)
    profile = load_target(chosen, profile_folders(project))
    say(f"calibrating {chosen} …")
    journal = None if out is None else out.with_suffix(".jsonl")
    budget_s = None if budget_min is None else budget_min * 60
    measuring = Measuring(budget_s=budget_s, journal=journal, say=say)
    formats, dtypes = profile.all_formats, ("int8", "float32")
    target = run(profile, seed=seed, formats=formats, measuring=measuring, dtypes=dtypes)
    if out is not None and journal is not None:
        write_profile(target, out)
        journal.unlink()
        say(f'wrote {out}; use it with profiles = ["{out.parent}"] in edgekiln.toml')
    if as_json:
        print_json(target)
        return
    print_costs(target)


def write_profile(target: Target, path: Path) -> None:
    """The whole profile as one TOML file, whole or not at all; its id is the file's name."""
    from edgekiln.runtime.files import write_atomic
    from edgekiln.targets import profile_text

    write_atomic(path, profile_text(target, path.stem).encode())


def print_costs(target: Target) -> None:
    """The cost tables of a target, in the order of its profile, each after a line about it."""
    for costs in target.costs:
        table = cost_table(costs)
        print(f"{table.title}, {costs.per_run_us:.3g} µs a run")
        print_tables((table,), markdown=False)

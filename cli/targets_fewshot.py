"""`edgekiln targets fewshot`: a new device's profile from the times of a few models on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, print_table, say
from .project import profile_folders
from .targets_output import project_option

if TYPE_CHECKING:
    from edgekiln.compiler.fewshot import Onboarded


@click.command()
@click.argument("times", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--like", required=True, help="A profile of the same class of device.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Write the profile; its name is the new target's id.",
)
@project_option
@common_options
def fewshot(times: Path, like: str, out: Path, project: Path | None, as_json: bool) -> None:
    """Price a new device from 10 to 20 models timed on it.

    TIMES is a CSV file with the columns model,ms (or a JSON list of such objects); models are
    .tflite or .onnx files, their paths are taken from its folder.
    """
    need_extra("search")
    need_extra("onnx")
    from edgekiln.compiler.fewshot import onboard, read_times
    from edgekiln.targets import check_profile_path, load_target

    from .targets_calibrate import write_profile

    check_profile_path(out)
    done = onboard(read_times(times), load_target(like, profile_folders(project)), out.stem)
    write_profile(done.target, out)
    say(f'wrote {out}; use it with profiles = ["{out.parent}"] in edgekiln.toml')
    if as_json:
        print_json(done.target)
    else:
        _print(done)


def _print(done: Onboarded) -> None:
    from .targets_calibrate import print_costs

    rows = [
        (fit.rule, f"{fit.heldout_ape:.1%}", f"{fit.share:.0%}")
        for fit in sorted(done.fit.rules, key=lambda fit: -fit.share)
    ]
    columns = ("graphs are executed", "mean error, left out", "trust")
    print_table("How the device runs a graph", columns, rows)
    print_costs(done.target)

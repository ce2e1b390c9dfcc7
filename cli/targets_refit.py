"""`edgekiln targets refit`: a profile corrected by what its devices took in the field."""

from __future__ import annotations

from pathlib import Path

import click

from .console import common_options, need_extra, print_json, say
from .project import profile_folders
from .targets_output import project_option


@click.command()
@click.argument("target_id")
@click.option(
    "--field",
    "document",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What `edgekiln fleet latency --json` printed.",
)
@click.option(
    "--bundle",
    "bundles",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    required=True,
    help="An .ekb that the devices ran; once for each.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Write the corrected profile; its name is the target's id.",
)
@project_option
@common_options
def refit(
    target_id: str,
    document: Path,
    bundles: tuple[Path, ...],
    out: Path,
    project: Path | None,
    as_json: bool,
) -> None:
    """Correct a profile's cost tables by what a fleet's devices took (T4).

    Prints one line for each bundle whose latency in the field the old profile's interval missed.
    """
    need_extra("search")
    from edgekiln.compiler.field import field_latencies
    from edgekiln.targets import check_profile_path, load_target
    from edgekiln.targets.field_file import read_field
    from edgekiln.targets.refit import refit as run

    from .targets_calibrate import print_costs, write_profile

    check_profile_path(out)
    target = load_target(target_id, profile_folders(project))
    found = field_latencies(read_field(document), target, bundles)
    for note in found.notes:
        say(note)
    done = run(target, found.fields)
    write_profile(done.target, out)
    say(f'wrote {out}; use it with profiles = ["{out.parent}"] in edgekiln.toml')
    if as_json:
        print_json(done)
        return
    for flag in done.flags:
        print(flag)
    print_costs(done.target)

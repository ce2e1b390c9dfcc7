"""`edgekiln verify`: the certificate again, on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, print_table, say
from .errors import CheckFailedError
from .project import load_project, profile_folders

if TYPE_CHECKING:
    from edgekiln.compiler.parity import EngineRow

_COLUMNS = (
    *("target", "format", "engine", "samples", "largest difference", "label flips", "bound"),
    "verdict",
)


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", "source", help="The data of the compile: run its certificate again too.")
@click.option("--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here.")
@common_options
def verify(bundle: Path, source: str | None, project: Path | None, as_json: bool) -> None:
    """Run every artifact of BUNDLE in every engine here, and say what differs from its record.

    Golden vectors are in the bundle. With --data the certificate is made again as well.
    """
    need_extra("onnx")
    from edgekiln.compiler.data import load_dataset
    from edgekiln.compiler.verify import verify_bundle

    seed = load_project(project).data.seed
    dataset = load_dataset(source, seed=seed) if source else None
    report = verify_bundle(bundle, dataset, profile_folders(project))
    if as_json:
        print_json(report)
    else:
        _print(f"Verified {bundle}: golden vectors", report.rows)
        if report.certificate is not None:
            _print("The certificate made again", report.certificate.engines)
        for difference in report.differences:
            say(difference.text)
        for note in report.notes:
            say(note)
    if not report.passed:
        raise CheckFailedError(
            f"{bundle}: {', '.join(report.broken)} broke a bound on this machine; the rows above "
            "say by how much"
        )


def _print(title: str, rows: Iterable[EngineRow]) -> None:
    shown = [
        (
            row.target,
            row.form,
            row.engine,
            str(row.samples),
            row.distance,
            str(row.label_flips),
            row.bound,
            "ok" if row.passed else "BROKEN",
        )
        for row in rows
    ]
    print_table(title, _COLUMNS, shown)

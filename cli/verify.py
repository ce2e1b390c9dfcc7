"""`edgekiln verify`: the certificate again, on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from .console import common_options, need_extra, print_json, print_table, say
from .errors import CheckFailedError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@common_options
def verify(bundle: Path, as_json: bool) -> None:
    """Run every artifact of BUNDLE on its golden vectors and say what differs."""
    need_extra("onnx")
    from edgekiln.compiler.verify import verify_bundle

    report = verify_bundle(bundle)
    if as_json:
        print_json(report)
    else:
        rows = [
            (
                row.target,
                row.format,
                row.engine,
                str(row.samples),
                str(row.max_lsb),
                str(row.label_flips),
                "ok" if row.passed else "DIFFERS",
            )
            for row in report.rows
        ]
        columns = ("target", "format", "engine", "samples", "max LSB", "label flips", "verdict")
        print_table(f"Verified {bundle}", columns, rows)
        for note in report.notes:
            say(note)
    if failed := [f"{row.target}/{row.format}" for row in report.rows if not row.passed]:
        raise CheckFailedError(
            f"{bundle}: {', '.join(failed)} differ from the golden vectors on this machine"
        )

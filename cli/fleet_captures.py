"""`edgekiln fleet captures`: the samples that devices were allowed to send."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from .console import common_options, need_extra, print_json, print_table, say
from .fleet_devices import FOLDER, fleet_option


@click.command()
@fleet_option
@click.option("--device", default="", help="Of one device only.")
@click.option("-o", "--out", type=FOLDER, help="Write the samples to this .npz.")
@common_options
def captures(folder: Path, device: str, out: Path | None, as_json: bool) -> None:
    """List or save captured samples whose time to live is not over; needs no running server.

    The .npz has x, and answer, confidence, reason, device and at_s of each sample. The answer is
    the model's own: no label to train on before a person has looked at it.
    """
    need_extra("fleet")
    from edgekiln.fleet.capture_file import capture_row, write_captures
    from edgekiln.fleet.captures import read_captures
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.store import open_store

    store = open_store(open_fleet(folder).database)
    try:
        found = read_captures(store, time.time(), device)
    finally:
        store.close()
    left_out = write_captures(out, found) if out else 0
    if out:
        say(
            f"wrote {len(found) - left_out} samples to {out}; left out, of other shapes: {left_out}"
        )
    rows = [capture_row(one) for one in found]
    if as_json:
        print_json({"captures": rows, "left_out": left_out})
        return
    columns = ("device", "at", "reason", "answer", "confidence", "detail", "redacted by")
    told = [
        (
            row.device,
            datetime.fromtimestamp(row.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            row.reason,
            row.label or "–",
            "–" if row.confidence is None else f"{row.confidence:.2f}",
            row.detail or (f"other: {row.other_label}" if row.other_label else "–"),
            row.redacted_by or "–",
        )
        for row in rows
    ]
    print_table("Captures", columns, told)

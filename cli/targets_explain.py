"""`edgekiln targets explain`: where time, RAM and bytes go, and what would make a model fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .calibrated import budget_of
from .console import common_options, need_extra, print_json, say
from .errors import ModelChoiceError
from .project import load_project, profile_folders
from .targets_check import CheckRow, bytes_text, check_row, latency_text, over, read_model
from .targets_output import print_tables, project_option, table_options, write_page
from .targets_tables import Table

if TYPE_CHECKING:
    from edgekiln.compiler.changes import Change
    from edgekiln.compiler.explain import Explanation
    from edgekiln.targets import Target

LAYER_COLUMNS = ("", "operator", "output", "MACs", "time", "of it", "RAM covered", "constants")
CHANGE_COLUMNS = ("change", "MACs left", "latency", "RAM bytes", "flash bytes")


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change that would fit, and what the model would then cost."""

    kind: str
    what: str
    macs_share: float
    price: CheckRow


@dataclass(frozen=True, slots=True)
class ExplainDocument:
    """One model on one target in one format; no changes where it fits."""

    model: str
    explanation: Explanation
    whole: CheckRow
    changes: tuple[ChangeRow, ...]
    notes: tuple[str, ...]


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_id", required=True)
@click.option("--format", "fmt", type=click.Choice(("tflite", "onnx", "c")), help="Default: best.")
@click.option("--latency-ms", type=click.FloatRange(min=0, min_open=True))
@click.option("--ram-bytes", type=click.IntRange(min=1))
@click.option("--flash-bytes", type=click.IntRange(min=1))
@click.option("--data", "source", help="FILE.npz or sklearn:NAME: sets a float model's ranges.")
@click.option("--emulate", is_flag=True, help="Count instructions of each layer on the core.")
@project_option
@table_options
@common_options
def explain(
    model: Path,
    target_id: str,
    fmt: str | None,
    latency_ms: float | None,
    ram_bytes: int | None,
    flash_bytes: int | None,
    source: str | None,
    emulate: bool,
    project: Path | None,
    markdown: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Say where time, RAM and bytes of MODEL go on a target, layer by layer.

    Where it breaks a limit, the smallest changes that would keep all of them are tried: other
    formats, fewer channels, a smaller input. What they cost in accuracy only training tells.
    """
    need_extra("onnx")
    from edgekiln.compiler.changes import smallest_changes
    from edgekiln.compiler.explain import explain as explained
    from edgekiln.compiler.suitability import Asked, suitability
    from edgekiln.targets import Budget, load_target

    settings = load_project(project)
    target = load_target(target_id, profile_folders(project))
    fmt = _format(target, fmt)
    limits = Budget(latency_ms=latency_ms, ram_bytes=ram_bytes, flash_bytes=flash_bytes)
    asked = Asked(target, over(limits, budget_of(settings, target.id)))
    read = read_model(model, source, settings)
    explanation = explained(read.graph, target, fmt, emulate=emulate)
    alone = replace(asked, target=replace(target, formats=(fmt,)))
    (whole,) = suitability(read.graph, [alone], emulate=emulate)
    changes: Sequence[Change] = ()
    if not whole.fits:
        say("it does not fit: trying what would")
        changes = smallest_changes(read.graph, asked, fmt)
    document = ExplainDocument(
        model=str(model),
        explanation=explanation,
        whole=check_row(whole),
        changes=tuple(
            ChangeRow(item.kind, item.what, item.macs_share, check_row(item.price))
            for item in changes
        ),
        notes=(*read.notes, *((explanation.note,) if explanation.note else ())),
    )
    for note in document.notes:
        say(note)
    if page is not None:
        from .explain_page import render_explanation

        write_page(page, render_explanation(document))
    if as_json:
        print_json(document)
        return
    _print(document, markdown)


def _format(target: Target, fmt: str | None) -> str:
    if fmt is not None and fmt not in target.formats:
        raise ModelChoiceError(
            f"target '{target.id}' does not run {fmt}; it runs: {', '.join(target.formats)}"
        )
    return fmt or target.formats[0]


def _print(document: ExplainDocument, markdown: bool) -> None:
    print_tables((layer_table(document),), markdown)
    print(f"{document.whole.target}/{document.whole.format}: {verdict_text(document.whole)}")
    if document.changes:
        print_tables((change_table(document),), markdown)
    elif not document.whole.fits:
        print("no change of width, input or format that was tried keeps the limits")


def layer_table(document: ExplainDocument) -> Table:
    """One row a layer, in the order that they run in."""
    found = document.explanation
    total = sum(layer.time_us or 0.0 for layer in found.layers)
    rows = tuple(
        (
            str(number),
            layer.op,
            "x".join(str(size) for size in layer.shape[1:]),
            f"{layer.macs:,}",
            "not known" if layer.time_us is None else f"{layer.time_us / 1e3:.3g} ms",
            f"{layer.time_us / total:.0%}" if layer.time_us is not None and total else "–",
            f"{layer.live_bytes:,}",
            f"{layer.constant_bytes:,}",
        )
        for number, layer in enumerate(found.layers, start=1)
    )
    return Table(f"{document.model} on {found.target_id}, {found.format}", LAYER_COLUMNS, rows)


def change_table(document: ExplainDocument) -> Table:
    """What would fit, the least change first."""
    rows = tuple(
        (
            change.what,
            f"{change.macs_share:.0%}",
            latency_text(change.price.latency),
            bytes_text(change.price.ram),
            bytes_text(change.price.flash),
        )
        for change in document.changes
    )
    return Table("What would fit; its accuracy only training tells", CHANGE_COLUMNS, rows)


def verdict_text(row: CheckRow) -> str:
    """Latency, bytes, and what breaks a limit."""
    figures = (
        f"latency {latency_text(row.latency)}; RAM {bytes_text(row.ram)}, "
        f"flash {bytes_text(row.flash)} bytes"
    )
    return f"{figures}; {'fits' if row.fits else 'does not fit: ' + '; '.join(row.reasons)}"

"""`edgekiln targets check`: where a model fits, and what stands in the way elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .calibrated import budget_of
from .console import common_options, need_extra, print_json, say
from .errors import CheckFailedError
from .project import Project, load_project, open_dataset, profile_folders
from .targets_output import print_tables, project_option, table_options, write_page
from .targets_tables import Table

if TYPE_CHECKING:
    from edgekiln.compiler.model_file import ReadModel
    from edgekiln.compiler.suitability import Suitability
    from edgekiln.runtime.manifest import EstimateRecord
    from edgekiln.targets import Budget, Target

COLUMNS = (
    *("target", "format", "fits", "latency", "energy", "RAM bytes", "of", "flash bytes", "of"),
    "why not, and what is not known",
)


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One format on one target. `reasons` are empty where it fits; bytes are exact (T0)."""

    target: str
    format: str
    engine: str
    fits: bool
    latency: EstimateRecord | None
    ram: EstimateRecord | None
    flash: EstimateRecord | None
    energy: EstimateRecord | None
    latency_limit_ms: float | None
    ram_limit_bytes: int | None
    flash_limit_bytes: int | None
    energy_limit_mj: float | None
    reasons: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class CheckDocument:
    """What was checked: multiply-accumulates and operators of the model as it is written."""

    model: str
    dtype: str
    operators: int
    macs: int
    notes: tuple[str, ...]
    rows: tuple[CheckRow, ...]


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_ids", multiple=True, help="Default: every target.")
@click.option("--latency-ms", type=click.FloatRange(min=0, min_open=True), help="For each target.")
@click.option("--ram-bytes", type=click.IntRange(min=1), help="For each target.")
@click.option("--flash-bytes", type=click.IntRange(min=1), help="For each target.")
@click.option("--data", "source", help="FILE.npz or sklearn:NAME: sets a float model's ranges.")
@click.option("--emulate", is_flag=True, help="Count instructions on each emulated core, too.")
@project_option
@table_options
@common_options
def check(
    model: Path,
    target_ids: tuple[str, ...],
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
    """Say which targets can run MODEL, in which formats, inside which budgets, and why not.

    RAM and flash are exact; latency is measured on this machine, else emulated or estimated from
    the target's cost table, else not known. Limits come from the profile and from [targets.NAME]
    of edgekiln.toml. Exit code 1 where a target that was named cannot run it, or none can.
    """
    need_extra("onnx")
    from edgekiln.compiler.suitability import Asked, suitability
    from edgekiln.targets import Budget

    settings = load_project(project)
    folders = profile_folders(project)
    limits = Budget(latency_ms=latency_ms, ram_bytes=ram_bytes, flash_bytes=flash_bytes)
    asked = [
        Asked(target, over(limits, budget_of(settings, target.id)))
        for target in _chosen(target_ids, folders)
    ]
    read = read_model(model, source, settings)
    found = suitability(read.graph, asked, emulate=emulate)
    document = _document(model, read, found)
    for note in document.notes:
        say(note)
    if page is not None:
        from .targets_page import render_check

        write_page(page, render_check(document))
    if as_json:
        print_json(document)
    else:
        print_tables((check_table(document),), markdown)
    _refuse(document, target_ids)


def _chosen(target_ids: Sequence[str], folders: Sequence[Path]) -> Sequence[Target]:
    from edgekiln.targets import list_targets, load_target

    if not target_ids:
        return list_targets(folders)
    return [load_target(target_id, folders) for target_id in dict.fromkeys(target_ids)]


def over(flags: Budget, budget: Budget) -> Budget:
    """The limits of the command line in place of those of the file."""
    given = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
    return dataclasses.replace(budget, **{k: v for k, v in given.items() if v is not None})


def read_model(model: Path, source: str | None, settings: Project) -> ReadModel:
    """The model with the ranges of the data set that was given, if any."""
    from edgekiln.compiler.model_file import read_for_check

    dataset = open_dataset(source, settings) if source else None
    return read_for_check(model, dataset)


def check_table(document: CheckDocument) -> Table:
    """One row a format and target."""
    title = (
        f"{document.model}: {document.operators} operators, {document.macs:,} multiply-accumulates"
    )
    return Table(title, COLUMNS, tuple(_row(row) for row in document.rows))


def _row(row: CheckRow) -> tuple[str, ...]:
    known = row.ram is not None
    return (
        row.target,
        row.format,
        "yes" if row.fits else "no",
        latency_text(row.latency) if known else "–",
        energy_text(row.energy),
        bytes_text(row.ram),
        f"{row.ram_limit_bytes:,}" if row.ram_limit_bytes is not None else "–",
        bytes_text(row.flash),
        f"{row.flash_limit_bytes:,}" if row.flash_limit_bytes is not None else "–",
        "; ".join(row.reasons) or row.note,
    )


def latency_text(latency: EstimateRecord | None) -> str:
    """Value, interval, and the word that its tier allows."""
    if latency is None:
        return "not known"
    from edgekiln.targets import Tier

    tier = Tier[latency.tier]
    low, value, high = (figure_text(x) for x in (latency.low, latency.value, latency.high))
    return f"{value} ms ({low} to {high}), {tier.word} {tier.name}"


def energy_text(energy: EstimateRecord | None) -> str:
    """The same; a dash where nobody says what the device draws."""
    if energy is None:
        return "–"
    low, value, high = (figure_text(x) for x in (energy.low, energy.value, energy.high))
    return f"{value} mJ ({low} to {high}), {energy.tier}"


def figure_text(figure: float) -> str:
    """Three digits, and never a power of ten for what is large."""
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"


def bytes_text(size: EstimateRecord | None) -> str:
    """Exact bytes and their tier."""
    return "–" if size is None else f"{size.value:,.0f} ({size.tier})"


def _document(model: Path, read: ReadModel, found: Sequence[Suitability]) -> CheckDocument:
    from edgekiln.compiler.workload import workload

    work = workload(read.graph)
    return CheckDocument(
        model=str(model),
        dtype=work.dtype,
        operators=len(work.layers),
        macs=work.macs,
        notes=read.notes,
        rows=tuple(check_row(item) for item in found),
    )


def check_row(item: Suitability) -> CheckRow:
    """What was found, as data."""
    from edgekiln.runtime.manifest import EstimateRecord

    cost = item.footprint
    latency = cost.latency if cost is not None else None
    return CheckRow(
        target=item.target_id,
        format=item.format,
        engine=item.engine,
        fits=item.fits,
        latency=EstimateRecord.of(latency) if latency is not None else None,
        ram=EstimateRecord.of(cost.ram) if cost is not None else None,
        flash=EstimateRecord.of(cost.flash) if cost is not None else None,
        energy=EstimateRecord.of(cost.energy) if cost is not None and cost.energy else None,
        latency_limit_ms=item.budget.latency_ms,
        ram_limit_bytes=item.budget.ram_bytes,
        flash_limit_bytes=item.budget.flash_bytes,
        energy_limit_mj=item.budget.energy_mj,
        reasons=item.reasons,
        note=item.note,
    )


def _refuse(document: CheckDocument, target_ids: Sequence[str]) -> None:
    """Raises CheckFailedError where a named target, or every target, runs no format of it."""
    fitting = {row.target for row in document.rows if row.fits}
    missed = [name for name in dict.fromkeys(target_ids) if name not in fitting]
    if missed:
        reasons = (
            f"{row.target}/{row.format}: {'; '.join(row.reasons)}"
            for row in document.rows
            if row.target in missed
        )
        raise CheckFailedError(f"{document.model} does not fit: {' | '.join(reasons)}")
    if not fitting:
        raise CheckFailedError(f"{document.model} fits none of the targets")

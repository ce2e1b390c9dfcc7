"""`edgekiln targets`: the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, print_json
from .project import profile_folders
from .targets_calibrate import calibrate
from .targets_check import check
from .targets_explain import explain
from .targets_fewshot import fewshot
from .targets_measure import measure
from .targets_output import print_tables, project_option, table_options, write_page
from .targets_predict import predict
from .targets_refit import refit
from .targets_tables import (
    Table,
    comparison_table,
    cost_table,
    evidence_table,
    facts_table,
    list_table,
    operator_table,
)

if TYPE_CHECKING:
    from edgekiln.targets import Target

CLASSES = ("host", "linux", "mcu", "npu")


@click.group()
def targets() -> None:
    """What devices can do, and how well it is known."""


targets.add_command(calibrate)
targets.add_command(check)
targets.add_command(explain)
targets.add_command(fewshot)
targets.add_command(measure)
targets.add_command(predict)
targets.add_command(refit)


@targets.command("list")
@click.option("--class", "classes", multiple=True, type=click.Choice(CLASSES))
@project_option
@table_options
@common_options
def list_(
    classes: tuple[str, ...],
    project: Path | None,
    markdown: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """List every profile of the catalog and of your own folders."""
    from edgekiln.targets import list_targets

    folders = profile_folders(project)
    found = [t for t in list_targets(folders) if not classes or t.device_class in classes]
    if as_json:
        print_json({"targets": found})
        return
    table = list_table(found, _origins(found, folders))
    _show((table,), "Targets", markdown, page)


@targets.command()
@click.argument("target_id")
@project_option
@table_options
@common_options
def show(
    target_id: str, project: Path | None, markdown: bool, page: Path | None, as_json: bool
) -> None:
    """Show one profile: the device, its operators, cost tables, evidence."""
    from edgekiln.targets import load_target

    target = load_target(target_id, profile_folders(project))
    if as_json:
        print_json(target)
        return
    from edgekiln.compiler.coverage import operators_of

    tables = (
        facts_table(target),
        *(cost_table(costs) for costs in target.costs),
        operator_table(target, operators_of),
        evidence_table(target.evidence),
    )
    _show(tables, target.id, markdown, page)


@targets.command()
@click.argument("target_ids", nargs=-1, required=True)
@project_option
@table_options
@common_options
def compare(
    target_ids: tuple[str, ...],
    project: Path | None,
    markdown: bool,
    page: Path | None,
    as_json: bool,
) -> None:
    """Put profiles side by side: memory, clock, formats, and what a unit of work costs."""
    from edgekiln.targets import load_target

    folders = profile_folders(project)
    found = [load_target(target_id, folders) for target_id in dict.fromkeys(target_ids)]
    if as_json:
        print_json({"targets": found})
        return
    _show((comparison_table(found),), "Targets compared", markdown, page)


def _show(tables: Sequence[Table], title: str, markdown: bool, page: Path | None) -> None:
    if page is not None:
        from .targets_page import render_tables

        write_page(page, render_tables(title, tables))
    print_tables(tables, markdown)


def _origins(found: Sequence[Target], folders: Sequence[Path]) -> list[str]:
    """Whose each profile is; one's own may stand in for the catalog's."""
    from edgekiln.targets.profiles import BUILTIN_FOLDER, profile_files

    files, shipped = profile_files(folders), profile_files()
    return [
        "catalog"
        if files[target.id].parent == BUILTIN_FOLDER
        else ("yours, in place of the catalog's" if target.id in shipped else "yours")
        for target in found
    ]

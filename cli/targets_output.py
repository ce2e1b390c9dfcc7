"""Where tables of `edgekiln targets` go: a terminal or pipe, Markdown, a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from .console import print_table, say

if TYPE_CHECKING:
    from .targets_tables import Table

Command = TypeVar("Command", bound=Callable[..., object])


def table_options(function: Command) -> Command:
    """`--markdown` and `--html FILE` (passed on as `page`)."""
    markdown = click.option("--markdown", is_flag=True, help="Print tables as Markdown.")
    page = click.option(
        "--html", "page", type=click.Path(path_type=Path), help="Write a page, too."
    )
    return markdown(page(function))


def project_option(function: Command) -> Command:
    """`--project FILE`, which names the folders of profiles of one's own."""
    return click.option(
        "--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here."
    )(function)


def print_tables(tables: Sequence[Table], markdown: bool) -> None:
    """Every table on stdout."""
    for table in tables:
        if markdown:
            print(markdown_text(table))
        else:
            print_table(table.title, table.columns, table.rows)


def markdown_text(table: Table) -> str:
    """A table as GitHub's Markdown has it, under its title."""
    rule = ("---",) * len(table.columns)
    rows = [_markdown_row(row) for row in (table.columns, rule, *table.rows)]
    return "\n".join((f"## {table.title}", "", *rows, ""))


def write_page(path: Path, html: str) -> None:
    """The page, whole or not at all, and a line that says so."""
    from edgekiln.runtime.files import write_atomic

    write_atomic(path, html.encode())
    say(f"wrote {path}")


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"

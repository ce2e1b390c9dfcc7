"""What a command says: progress and tables to stderr, the one JSON document to stdout."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from .errors import MissingExtraError

Command = TypeVar("Command", bound=Callable[..., object])

_DEBUG = "edgekiln.debug"

# extra -> a module that only this extra brings
EXTRAS = {"onnx": "onnx", "compile": "torch", "search": "scipy", "fleet": "litestar"}


def common_options(function: Command) -> Command:
    """`--json` (passed on as `as_json`) and `--debug` (read by the entry point)."""
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout."
    )
    debug = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_keep_debug,
        help="Show tracebacks, and more progress.",
    )
    return as_json(debug(function))


def _keep_debug(context: click.Context, option: click.Parameter, value: bool) -> None:
    context.meta[_DEBUG] = value


def debugging() -> bool:
    """Whether the running command was given `--debug`."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_DEBUG))


def say(text: str) -> None:
    """One line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


class _Stdout:
    documents = 0


def document_printed() -> bool:
    """Whether stdout has its one document: an error after it goes to stderr alone."""
    return _Stdout.documents > 0


def print_json(document: Any) -> None:
    """The command's one JSON document; msgspec structs and dataclasses are taken as they are."""
    _Stdout.documents += 1
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: rich on a terminal, tab-separated in a pipe."""
    if not sys.stdout.isatty():
        print("\t".join(columns))
        for row in rows:
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def need_extra(extra: str) -> None:
    """Fail in one line where an optional extra is not installed.

    Raises:
        MissingExtraError: naming the extra and the line that installs it.
    """
    if not _installed(EXTRAS[extra]):
        raise MissingExtraError(
            f"this command needs the extra '{extra}'; install it with: "
            f"pip install 'edgekiln[{extra}]'"
        )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False

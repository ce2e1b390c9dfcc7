"""Errors to exit codes, and the JSON document that goes with them."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import click
import pytest

from edgekiln.cli import console, exits
from edgekiln.cli.errors import CheckFailedError, OutputError
from edgekiln.cli.exits import OS_ERRORS, USER_ERRORS, exit_code
from edgekiln.compiler.errors import DataSourceError, GateError, ParityError
from edgekiln.fleet.errors import ApiError
from edgekiln.runtime.errors import DigestError
from edgekiln.search.errors import BudgetError, LedgerError
from edgekiln.targets.errors import MissingToolError


@pytest.fixture(autouse=True)
def _kept_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console._Stdout, "documents", 0)
    # pytest's streams have no file behind them that could be looked at.
    monkeypatch.setattr(exits, "_reader_is_gone", lambda: False)


def raising(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataSourceError("no such file"), 2, "no such file"),
        (LedgerError("two\n  lines"), 2, "two lines"),
        (DigestError("a"), 2, "a"),
        (ApiError("b"), 2, "b"),
        (MissingToolError("c"), 2, "c"),
        (OutputError("d"), 2, "d"),
        (GateError("too slow"), 1, "too slow"),
        (ParityError("off"), 1, "off"),
        (BudgetError("too small"), 1, "too small"),
        (CheckFailedError("no"), 1, "no"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept"),
        (click.Abort(), 130, "interrupted; what was finished is kept"),
        (click.UsageError("what?"), 2, "what?"),
        (
            ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"),
            2,
            "the Python package of 'onnxruntime' is not installed, or only in part; "
            "install all of them with: pip install 'edgekiln[all]'",
        ),
        (MemoryError(), 2, "out of memory; use less data or fewer workers"),
        (OSError(errno.ENOSPC, "x", "a.ekb"), 2, f"a.ekb: {OS_ERRORS[errno.ENOSPC]}"),
        (OSError(errno.ENOSPC, "x"), 2, OS_ERRORS[errno.ENOSPC]),
        (PermissionError(errno.EACCES, "x", "key"), 2, f"key: {OS_ERRORS[errno.EACCES]}"),
        (OSError(errno.EROFS, "x", "f"), 2, f"f: {OS_ERRORS[errno.EROFS]}"),
        (OSError(errno.EIO, "Input/output error", "f"), 2, "f: Input/output error"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "Broken pipe"),
        (
            ZeroDivisionError("by\nzero"),
            2,
            "a fault of edgekiln: ZeroDivisionError: by zero (see --debug)",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_exit_code_and_one_line_when_a_command_raises(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(raising(error), ()) == code
    said = capsys.readouterr()
    assert said.err == f"edgekiln: {line}\n"
    assert said.out == ""


def test_exit_code_is_0_when_nothing_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: None, ()) == 0
    assert capsys.readouterr() == ("", "")


def test_exit_code_is_clicks_own_when_a_command_exits() -> None:
    assert exit_code(raising(click.exceptions.Exit(0)), ()) == 0


def test_exit_is_silent_when_the_reader_went_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exits, "_reader_is_gone", lambda: True)
    assert exit_code(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")), ()) == 0
    assert capsys.readouterr().err == ""


def test_full_database_is_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    from sqlalchemy.exc import OperationalError

    full = OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))
    assert exit_code(raising(full), ()) == 2
    assert capsys.readouterr().err == f"edgekiln: {OS_ERRORS[errno.ENOSPC]}\n"
    locked = OperationalError("insert", {}, sqlite3.OperationalError("database is locked"))
    assert exit_code(raising(locked), ()) == 2
    assert capsys.readouterr().err == "edgekiln: the fleet's database: database is locked\n"


def test_error_is_a_json_document_when_json_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(raising(GateError("too slow")), ("--json",)) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"error": "too slow"}
    assert said.err == "edgekiln: too slow\n"


def test_error_adds_no_second_document_when_one_was_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run() -> None:
        console.print_json({"passed": False})
        raise CheckFailedError("it differs")

    assert exit_code(run, ("--json",)) == 1
    assert json.loads(capsys.readouterr().out) == {"passed": False}


def test_debug_shows_a_traceback_and_keeps_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(raising(GateError("too slow")), ("--debug",)) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("edgekiln: too slow\n")


def test_every_named_error_tree_exists() -> None:
    import importlib

    for module, name in USER_ERRORS:
        root = getattr(importlib.import_module(module), name)
        assert issubclass(root, Exception)

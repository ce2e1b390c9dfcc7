"""Errors to one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TextIO

import click

from .console import document_printed

DONE, REFUSED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

# The error trees whose text is written for the user; anything else is a bug of ours.
USER_ERRORS = (
    ("edgekiln.targets.errors", "TargetError"),
    ("edgekiln.runtime.errors", "RuntimeRoomError"),
    ("edgekiln.compiler.errors", "CompileError"),
    ("edgekiln.search.errors", "SearchError"),
    ("edgekiln.fleet.errors", "FleetError"),
    ("edgekiln.cli.errors", "CliError"),
)
# A gate or a check said no: the input was fine, the answer is not.
REFUSALS = (
    "GateError",
    "ParityError",
    "BudgetError",
    "CheckFailedError",
    "RefusedReleaseError",
)

DISK_FULL = "no space left on the disk; free some and run the command again"
OS_ERRORS = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EFBIG: "the file would be larger than this system lets it be; raise the limit (ulimit)",
    errno.EACCES: "permission denied; check the owner and the mode",
    errno.EPERM: "permission denied; check the owner and the mode",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "no such file or folder",
    errno.EEXIST: "is a file, a folder is needed",
    errno.ENOTDIR: "a part of the path is a file, a folder is needed",
    errno.EISDIR: "is a folder, a file is needed",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "links to itself",
    errno.EADDRINUSE: "the port is in use; choose another",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


def exit_code(run: Callable[[], object], argv: Sequence[str]) -> int:
    """Run a command; print what a user should see of its end; return the exit code."""
    code = DONE
    try:
        code = _ended(run, argv)
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # the reader went away: nothing is left to say to it
    except OSError as error:  # what reads our output failed: `> FILE` on a full disk
        with contextlib.suppress(OSError):
            code = _report(error, ())
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)
    return code


def _ended(run: Callable[[], object], argv: Sequence[str]) -> int:
    try:
        run()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; what was finished is kept", argv)
        return INTERRUPTED
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later: a group by itself
            print(error.format_message(), file=sys.stderr)
        else:
            _say(_usage_line(error), argv)
        return BAD_INPUT
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            raise
        if "--debug" in argv:
            traceback.print_exc()
        return _report(error, argv)
    return DONE


def _reader_is_gone() -> bool:
    """Whether it is our own output that nobody reads, and not a pipe to some helper."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _let_go(stream: TextIO) -> None:
    """Leave nothing in the buffer that would fail again when the interpreter ends."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _usage_line(error: click.ClickException) -> str:
    text = _one_line(error.format_message())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text} (see '{error.ctx.command_path} --help')"
    return text


def _report(error: Exception, argv: Sequence[str]) -> int:
    names = {cls.__name__ for cls in type(error).__mro__}
    _say(_what(error, names), argv)
    return REFUSED if names & set(REFUSALS) else BAD_INPUT


def _what(error: Exception, names: set[str]) -> str:
    if names & {name for _, name in USER_ERRORS}:
        return _one_line(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{OS_ERRORS.get(error.errno, error.strerror)}"
    if isinstance(error, MemoryError):
        return "out of memory; use less data or fewer workers"
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("edgekiln"):
        return (
            f"the Python package of '{error.name}' is not installed, or only in part; install all "
            "of them with: pip install 'edgekiln[all]'"
        )
    if "DBAPIError" in names:  # SQLAlchemy's, around what SQLite said
        said = str(getattr(error, "orig", error))
        return DISK_FULL if said.endswith("is full") else f"the fleet's database: {said}"
    return f"a fault of edgekiln: {type(error).__name__}: {_one_line(str(error))} (see --debug)"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(text: str, argv: Sequence[str]) -> None:
    if "--json" in argv and not document_printed():
        print(json.dumps({"error": text}), flush=True)
    print(f"edgekiln: {text}", file=sys.stderr, flush=True)

"""Errors to one line and an exit code."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Sequence

import click

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
REFUSALS = ("GateError", "ParityError", "BudgetError", "CheckFailedError")

OS_ERRORS = {
    errno.ENOSPC: "no space is left on the disk; free some and run the command again",
    errno.EACCES: "permission denied; check the owner and the mode",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder, a file is needed",
    errno.ENOTDIR: "a part of the path is a file, a folder is needed",
    errno.EADDRINUSE: "the port is in use; choose another",
}


def exit_code(run: Callable[[], object], argv: Sequence[str]) -> int:
    """Run a command; print what a user should see of its end; return the exit code."""
    try:
        run()
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted; what was finished is kept", argv)
        return INTERRUPTED
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        _say(_usage_line(error), argv)
        return BAD_INPUT
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away: nothing is left to say to it
        return DONE
    except Exception as error:
        if "--debug" in argv:
            raise
        return _report(error, argv)
    return DONE


def _usage_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text} (see '{error.ctx.command_path} --help')"
    return text


def _report(error: Exception, argv: Sequence[str]) -> int:
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {name for _, name in USER_ERRORS}:
        _say(" ".join(str(error).split()), argv)
        return REFUSED if names & set(REFUSALS) else BAD_INPUT
    if isinstance(error, OSError) and error.errno is not None:
        where = error.filename if error.filename is not None else "the disk"
        _say(f"{where}: {OS_ERRORS.get(error.errno, error.strerror)}", argv)
        return BAD_INPUT
    if isinstance(error, MemoryError):
        _say("out of memory; use less data or fewer workers", argv)
        return BAD_INPUT
    _say(f"a fault of edgekiln: {type(error).__name__}: {error} (--debug shows where)", argv)
    return BAD_INPUT


def _say(text: str, argv: Sequence[str]) -> None:
    if "--json" in argv:
        print(json.dumps({"error": text}), flush=True)
    print(f"edgekiln: {text}", file=sys.stderr, flush=True)

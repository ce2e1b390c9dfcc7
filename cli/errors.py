"""Errors of the command line.

CliError
├── ProjectFileError   edgekiln.toml is missing or wrong
├── ModelChoiceError   there is no one model to compile
├── MissingExtraError  a command needs an extra that is not installed
├── CheckFailedError   a check ran and said no (exit 1)
├── OutputError        where a result should go cannot take it
└── DemoError          a stage of the demo did not show what it claims
"""

from __future__ import annotations


class CliError(Exception):
    """Root of the command line's own errors; its text is one line for the user."""


class ProjectFileError(CliError):
    """edgekiln.toml is missing or wrong."""


class ModelChoiceError(CliError):
    """There is no one model to compile."""


class MissingExtraError(CliError):
    """A command needs an extra that is not installed."""


class CheckFailedError(CliError):
    """A check ran and said no (exit 1)."""


class OutputError(CliError):
    """Where a result should go cannot take it."""


class DemoError(CliError):
    """A stage of the demo did not show what it claims."""

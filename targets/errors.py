"""Errors of the targets room.

TargetError
├── UnknownTargetError       no profile of that name in the catalog
├── ProfileError             a profile file breaks the schema
├── UnsupportedOperatorError the target has no kernel, or no cost model, for an operator
├── NoCostTableError         nothing says what an engine of the target costs
└── MeasurementError         a harness could not produce a number
    ├── MissingToolError     a system tool is not installed
    └── BrokenImageError     the code to be measured does not compile, or faults
"""

from __future__ import annotations


class TargetError(Exception):
    """Root of everything this room raises; its text is one line for the user."""


class UnknownTargetError(TargetError):
    """No profile of that name in the catalog."""


class ProfileError(TargetError):
    """A profile file breaks the schema."""


class UnsupportedOperatorError(TargetError):
    """The target has no kernel, or no cost model, for an operator."""


class NoCostTableError(TargetError):
    """Nothing says what an engine of the target costs; the text names the way to find out."""


class MeasurementError(TargetError):
    """A harness could not produce a number."""


class MissingToolError(MeasurementError):
    """A system tool is not installed; the text names the line that installs it."""


class BrokenImageError(MeasurementError):
    """The code that was to be measured is at fault: it does not compile, or faults."""

"""Errors of the compiler room.

CompileError
├── ImportModelError          a model file cannot be read, or is of an unknown format
│   └── UnsupportedOpError    an operator that the graph has no word for
├── DataError                 a data set cannot be used
│   ├── DataSourceError       it cannot be found, read, or its library is not installed
│   ├── DataFormatError       keys, shapes or types are not those of a data set
│   └── DataContentError      its values cannot train and test a classifier
├── GrammarError              a graph breaks the IR's rules (a bug in a pass)
├── CalibrationError          calibration data is missing, empty or of the wrong shape
├── QuantizationError         an operator has no integer form and may not run in float32
├── RecipeError               a quantization recipe is missing or wrong
├── EmitError                 a graph cannot be written in a format
├── MissingKernelError        an engine has no kernel of an operator, so it cannot be a witness
├── ParityError               two emitted artifacts disagree beyond their bound
└── GateError                 a compile is out of budget and was not forced
"""

from __future__ import annotations


class CompileError(Exception):
    """Root of everything this room raises; its text is one line for the user."""


class ImportModelError(CompileError):
    """A model file cannot be read, or is of an unknown format."""


class UnsupportedOpError(ImportModelError):
    """An operator that the graph has no word for; names it, its place and the ways out."""


class DataError(CompileError):
    """A data set cannot be used; names the source, what is wrong and how to mend it."""


class DataSourceError(DataError):
    """It cannot be found or read, or the library that holds it is not installed."""


class DataFormatError(DataError):
    """Keys, shapes or types are not those of a data set."""


class DataContentError(DataError):
    """Its values cannot train and test a classifier."""


class GrammarError(CompileError):
    """A graph breaks the IR's rules."""


class CalibrationError(CompileError):
    """Calibration data is missing, empty or of the wrong shape."""


class QuantizationError(CompileError):
    """An operator has no integer form, and the recipe forbids to run it in float32."""


class RecipeError(CompileError):
    """A quantization recipe is missing or wrong; names the key and what it may be."""


class EmitError(CompileError):
    """A graph cannot be written in a format."""


class MissingKernelError(CompileError):
    """An engine that is here has no kernel of an operator: it cannot say what the model gives."""


class ParityError(CompileError):
    """Two emitted artifacts disagree beyond their bound."""


class GateError(CompileError):
    """A compile is out of budget and was not forced."""

"""`Table`: an array of generated C, read back from its text as the bytes that a core has of it.

The text is what `emit_c` wrote, which says everything: anything else is an EmitError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .emit_c_text import array
from .errors import EmitError

_ARRAY = re.compile(r"^const (\w+) (\w+)\[(\d+)\] = \{\n(.*?)\n\};$", re.M | re.S)
_MATRIX = re.compile(r"^static const (\w+) (\w+)\[\w+\]\[\w+\] = \{\n(.*?)\n\};$", re.M | re.S)
_NUMBER = re.compile(r"^(?:INT64_C\()?([^()]+?)\)?$")


@dataclass(frozen=True, slots=True)
class Table:
    """One array: its name, C element type, literals as they stand, and little-endian bytes."""

    name: str
    c_type: str
    literals: tuple[str, ...]

    @property
    def data(self) -> bytes:
        """Bytes as they lie in the memory of a little-endian core."""
        kind = _dtype(self.c_type)
        if kind.kind == "f":
            return np.array([_float(text) for text in self.literals], kind).tobytes()
        return np.array([_integer(text) for text in self.literals], kind).tobytes()

    @property
    def text(self) -> str:
        """Its definition in C."""
        return array(f"const {self.c_type} {self.name}[{len(self.literals)}]", self.literals)


def read_tables(weights_c: str) -> tuple[Table, ...]:
    """Arrays of a weights.c in their order. Raises EmitError where it is no such file."""
    tables = tuple(
        _table(c_type, name, int(size), body)
        for c_type, name, size, body in _ARRAY.findall(weights_c)
    )
    rest = _ARRAY.sub("", weights_c).replace('#include "weights.h"', "").strip()
    if rest:
        raise EmitError(f"weights.c: not an array: {rest.splitlines()[0][:60]}")
    return tables


def read_matrices(golden_h: str) -> dict[str, tuple[Table, ...]]:
    """Rows of each matrix of a golden.h by its name."""
    return {
        name: tuple(Table(name, c_type, row) for row in _rows(body))
        for c_type, name, body in _MATRIX.findall(golden_h)
    }


def _table(c_type: str, name: str, size: int, body: str) -> Table:
    table = Table(name, c_type, _literals(body))
    if len(table.literals) != size:
        raise EmitError(f"weights.c: {name} has {len(table.literals)} elements, not {size}")
    return table


def _rows(body: str) -> Iterator[tuple[str, ...]]:
    for row in re.findall(r"\{([^{}]*)\}", body):
        yield _literals(row)


def _literals(body: str) -> tuple[str, ...]:
    return tuple(text for word in body.split(",") if (text := word.strip()))


def _dtype(c_type: str) -> np.dtype[np.generic]:
    names = {"float": "<f4", "double": "<f8"}
    return np.dtype(names.get(c_type) or c_type.removesuffix("_t")).newbyteorder("<")


def _integer(text: str) -> int:
    found = _NUMBER.match(text)
    if found is None:
        raise EmitError(f"not a number: {text}")
    return int(found.group(1), 0)


def _float(text: str) -> float:
    return float.fromhex(text) if "0x" in text else float(text.removesuffix("f"))

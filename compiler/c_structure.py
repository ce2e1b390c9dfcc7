"""What an image has to share with the program that runs it, part by part, so that a difference has
a name: the application's interface, the memory, each layer, the places of its numbers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from .c_program import Program
from .c_tables import Table

_SCHEMA = "edgekiln image structure 1"
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_SPACE = re.compile(r"\s+")


class Part(msgspec.Struct, frozen=True):
    """A named part and the SHA-256 of its text, in hex."""

    name: str
    sha256: str


def parts_of(
    interface: str, header: str, program: Program, places: str, fixed: Iterable[Table]
) -> tuple[Part, ...]:
    """Parts of a program; comments and white space do not count."""
    tables = "".join(table.text for table in fixed)
    texts = (
        ("interface", interface),
        ("memory", header.partition("#ifdef MODEL_LAYER_HOOK")[0]),
        *program.layers,
        ("tables of the program", tables),
        ("places of weights", places),
    )
    return tuple(Part(name, _digest(_plain(text))) for name, text in texts)


def digest_of(parts: Iterable[Part]) -> bytes:
    """SHA-256 of all parts."""
    text = "".join(f"{part.name} {part.sha256}\n" for part in parts)
    return hashlib.sha256(f"{_SCHEMA}\n{text}".encode()).digest()


def differing(ours: Iterable[Part], theirs: Iterable[Part]) -> tuple[str, ...]:
    """Names of parts that are not the same in both, in the order of ours."""
    mine, other = ({part.name: part.sha256 for part in parts} for parts in (ours, theirs))
    return tuple(name for name in (mine | other) if mine.get(name) != other.get(name))


def _plain(text: str) -> str:
    return _SPACE.sub(" ", _COMMENT.sub("", text)).strip()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

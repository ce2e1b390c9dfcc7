"""Which numbers of generated C are learned, and initialisers that take them from an image.

Learned is what training and quantization decide and what only enters arithmetic: weights, biases,
factors, zero points, bounds of outputs, tables of functions. Everything that decides where memory
is read or written, or how often a loop runs, stays in the program: an image cannot make it leave
its buffers. A field that is not named here counts as structure, which is safe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_WORDS = ("zero_point", "multiplier", "shift")  # alone, or as the last word of a name
_LEARNED = frozenset((*_WORDS, "minimum", "maximum", "smallest", "fill", "first", "scale"))
# Arrays that kernels rely on: places to read from, and functions whose values they divide by.
_FIXED = frozenset(("row", "column", "first", "second", "share", "sizes", "exp", "reciprocal"))
_TOKEN = re.compile(r"\.(\w+)\s*=|([{},])|([^\s{},]+)")
_INTEGER = re.compile(r"-?\d+")
_FLOAT = re.compile(r"-?[\d.]+(?:e[-+]?\d+)?f")

Path = tuple[str, ...]


@dataclass(slots=True)
class Numbers:
    """Scalars that an image holds, in the order in which the program names them."""

    integers: list[str] = field(default_factory=list)
    floats: list[str] = field(default_factory=list)
    fixed: set[str] = field(default_factory=set)  # arrays that stay in the program

    def moved(self, params_type: str, initialiser: str) -> str:
        """`initialiser` with LEARNED(i) and LEARNED_FLOAT(i) for what goes into the image."""
        return " ".join(self._tokens(params_type, initialiser)).replace(" ,", ",")

    def _tokens(self, params_type: str, initialiser: str) -> Iterator[str]:
        path: list[str] = []
        names: list[str] = []  # of the braces that are open
        name = ""
        for designator, mark, value in _TOKEN.findall(initialiser):
            if designator:
                name = designator
                yield f".{name} ="
            elif value:
                yield self._value(params_type, (*path, name), value)
            else:
                yield mark
                if mark == "{":
                    names.append(name)
                    path = [word for word in names if word]
                elif mark == "}":
                    name = names.pop()
                    path = [word for word in names if word]

    def _value(self, params_type: str, path: Path, value: str) -> str:
        if value.startswith("model_"):
            if path[-1] in _FIXED:
                self.fixed.add(value)
            return value
        if not _is_learned(params_type, path):
            return value
        for pattern, kept, macro in (
            (_INTEGER, self.integers, "LEARNED"),
            (_FLOAT, self.floats, "LEARNED_FLOAT"),
        ):
            if pattern.fullmatch(value):
                kept.append(value)
                return f"{macro}({len(kept) - 1})"
        return value


def _is_learned(params_type: str, path: Path) -> bool:
    name = path[-1]
    if name == "multiplier" and _counts_channels(params_type, path):
        return False
    return name in _LEARNED or name.endswith(tuple(f"_{word}" for word in _WORDS))


def _counts_channels(params_type: str, path: Path) -> bool:
    """A depthwise layer's `multiplier` beside `channels`: outputs of one input channel."""
    owner = [word for word in path[:-1] if word]
    return "depthwise" in params_type and (not owner or owner == ["planes"])

"""C source text from Python values."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

_WIDTH = 96
_PER_ROW = 16


def braces(fields: Iterable[tuple[str, int | str]]) -> str:
    """A designated initialiser: `{.name = value, …}`."""
    return "{" + ", ".join(f".{name} = {value}" for name, value in fields) + "}"


def array(declaration: str, literals: Iterable[str]) -> str:
    """`declaration = {…};`, wrapped."""
    return f"{declaration} = {{\n{_rows(literals)}\n}};\n"


def matrix(declaration: str, rows: Iterable[Iterable[int]]) -> str:
    """`declaration = {{…}, …};`, wrapped."""
    body = ",\n".join(f"    {{\n{_rows(map(str, row))}\n    }}" for row in rows)
    return f"{declaration} = {{\n{body}\n}};\n"


def statement(declaration: str, value: str) -> str:
    """`declaration = value;`, wrapped at commas and spaces."""
    text = f"{declaration} = {value};"
    whole = textwrap.TextWrapper(
        _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return whole.fill(text) + "\n"


def float_literal(number: float) -> str:
    """A `float` literal that reads back as the same float32."""
    text = f"{number:.9g}"
    return f"{text}f" if set(text) & set(".e") else f"{text}.0f"


def comment(text: str) -> str:
    """`text` with nothing in it that could end a C comment or leave ASCII."""
    return text.encode("ascii", "replace").decode("ascii").replace("*/", "* /").replace("\n", " ")


def quoted(text: str) -> str:
    """`text` as a C string literal in ASCII."""
    plain = text.encode("ascii", "replace").decode("ascii").replace("\n", " ")
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?") + '"'


def _rows(literals: Iterable[str]) -> str:
    texts = tuple(literals)
    starts = range(0, len(texts), _PER_ROW)
    return ",\n".join("    " + ", ".join(texts[start : start + _PER_ROW]) for start in starts)

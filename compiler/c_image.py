"""`updatable`: generated C whose learned numbers are an image, which an update can replace.

The program is the generated C with one change: what is learned (`c_learned`) is read from an image
through the context. weights.c holds the image that the firmware was built with; another image of
the same structure (`c_structure`) can lie in any 8-aligned memory, a slot of flash say. Outputs are
those of the C that it was made from, byte for byte. Cores are little-endian, as all targets are.

An image begins as runtime/c/update/ek_image.h says; then come, from byte 32 on:

    32  float scale and int32 zero point of the input, then of the output (0 where there is none)
    48  the arrays, each at a multiple of 16
     .  the scalars: int32, then float
     .  the golden vectors
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .c_learned import Numbers
from .c_program import read_program
from .c_structure import Part, digest_of, parts_of
from .c_tables import Table, read_matrices, read_tables
from .emit_c_text import array
from .errors import EmitError

MAGIC = b"EKIMAGE1"
HEAD = struct.Struct("<8s6I")
ENDS = struct.Struct("<fifi")
ALIGNMENT = 16
UNIT = 32  # whole multiples of it, as EK_IMAGE_UNIT
_SCALE = re.compile(r"^#define MODEL_(INPUT|OUTPUT)_SCALE (\S+)\n", re.M)
_ZERO_POINT = re.compile(r"^#define MODEL_(INPUT|OUTPUT)_ZERO_POINT \((-?\d+)\)\n", re.M)


@dataclass(frozen=True, slots=True)
class Updatable:
    """A program by file name, its image, and the parts of its structure."""

    files: Mapping[str, bytes]
    image: bytes
    parts: tuple[Part, ...]

    @property
    def structure(self) -> bytes:
        """SHA-256 that program and image have to agree on."""
        return digest_of(self.parts)


def updatable(files: Mapping[str, bytes], interface: str, vectors: int) -> Updatable:
    """Program and image of generated C, by file name; its first `vectors` golden vectors go along.

    A firmware's own image needs none: its build is what proves it. `interface` is what the
    application around it relies on; it becomes a part of the structure.

    Raises EmitError where the files are not what `emit_c` writes.
    """
    texts = {name: _text(files, name) for name in ("model.h", "model.c", "weights.c", "golden.h")}
    numbers = Numbers()
    program = read_program(texts["model.c"], numbers)
    tables = read_tables(texts["weights.c"])
    fixed = [table for table in tables if table.name in numbers.fixed]
    layout = _Layout.of([table for table in tables if table not in fixed], numbers)
    header = _SCALE.sub("", _ZERO_POINT.sub("", texts["model.h"]))
    parts = parts_of(interface, header, program, layout.lines, fixed)
    image = _image(layout, _ends(texts["model.h"]), _golden(texts["golden.h"], vectors))
    made = {
        "model.h": program.header(header, digest_of(parts)),
        "model.c": program.source(layout.macros),
        "weights.h": _weights_h(fixed),
        "weights.c": _weights_c(fixed, image),
    }
    kept = {name: data for name, data in files.items() if not name.endswith(".so")}
    made_bytes = {name: text.encode("ascii") for name, text in made.items()}
    return Updatable(dict(sorted((kept | made_bytes).items())), image, parts)


def _text(files: Mapping[str, bytes], name: str) -> str:
    if name not in files:
        raise EmitError(f"no generated C: it has no {name}")
    return files[name].decode("ascii")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the arrays and scalars lie in an image."""

    places: tuple[tuple[Table, int], ...]  # the scalars are the last two arrays
    end: int

    @staticmethod
    def of(tables: Iterable[Table], numbers: Numbers) -> _Layout:
        scalars = (
            Table("LEARNED", "int32_t", tuple(numbers.integers)),
            Table("LEARNED_FLOAT", "float", tuple(numbers.floats)),
        )
        places, end = [], HEAD.size + ENDS.size
        for table in (*tables, *scalars):
            places.append((table, end))
            end = _aligned(end + len(table.data), ALIGNMENT)
        return _Layout(tuple(places), end)

    @property
    def lines(self) -> str:
        """One line for each array, without what is in it."""
        return "".join(f"{t.c_type} {t.name}[{len(t.literals)}] {at}\n" for t, at in self.places)

    @property
    def macros(self) -> str:
        """Names of arrays and scalars, in a function that has the image as `image`."""
        *arrays, integers, floats = (
            (table.name, f"((const {table.c_type} *)(const void *)(image + {at}))")
            for table, at in self.places
        )
        lines = [f"#define {name} {text}\n" for name, text in arrays]
        lines += [f"#define {name}(i) ({text}[i])\n" for name, text in (integers, floats)]
        return "".join(lines)


def _image(layout: _Layout, ends: bytes, golden: tuple[tuple[bytes, ...], ...]) -> bytes:
    """The bytes, zeros between the arrays."""
    inputs, outputs = map(b"".join, golden)
    count = len(golden[0])
    total = _aligned(layout.end + len(inputs) + len(outputs), UNIT)
    sizes = (len(rows[0]) if rows else 0 for rows in golden)
    image = bytearray(HEAD.pack(MAGIC, total, layout.end, count, *sizes, 0) + ends)
    for table, at in layout.places:
        image += bytes(at - len(image)) + table.data
    image += bytes(layout.end - len(image)) + inputs + outputs
    return bytes(image + bytes(total - len(image)))


def _ends(model_h: str) -> bytes:
    scales = dict(_SCALE.findall(model_h))
    points = dict(_ZERO_POINT.findall(model_h))
    fields: list[float | int] = []
    for end in ("INPUT", "OUTPUT"):
        fields += [float(scales.get(end, "0").removesuffix("f")), int(points.get(end, 0))]
    return ENDS.pack(*fields)


def _golden(golden_h: str, vectors: int) -> tuple[tuple[bytes, ...], ...]:
    found = read_matrices(golden_h)
    if found.keys() != {"golden_inputs", "golden_outputs"}:
        raise EmitError("golden.h: it has no inputs and outputs")
    names = ("golden_inputs", "golden_outputs")
    return tuple(tuple(row.data for row in found[name][:vectors]) for name in names)


def _weights_h(fixed: Iterable[Table]) -> str:
    rows = "".join(f"extern const {t.c_type} {t.name}[{len(t.literals)}];\n" for t in fixed)
    return (
        "#ifndef WEIGHTS_H\n#define WEIGHTS_H\n\n#include <stdint.h>\n\n"
        "/* The image that this program was built with. */\n"
        f"extern const uint64_t model_factory_image[];\n{rows}\n#endif\n"
    )


def _weights_c(fixed: Iterable[Table], image: bytes) -> str:
    words = struct.unpack(f"<{len(image) // 8}Q", image)
    literals = (f"UINT64_C(0x{word:016x})" for word in words)
    tables = "".join(f"\n{table.text}" for table in fixed)
    factory = array(f"const uint64_t model_factory_image[{len(words)}]", literals)
    return f'#include "weights.h"\n{tables}\n{factory}'


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment

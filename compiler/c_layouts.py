"""`lay_out`: generated C as a library of CMake, Arduino, Zephyr, ESP-IDF or PlatformIO.

The C stays as it is; a layout says where the files go and adds the few that its build system
reads. Sources that the library needs are apart from the program that proves them, main.c with
golden.h; on Arduino a sketch takes the place of main.c. Libraries are built with -O2 where the
system's own choice would be smaller and slower.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .emit_c_text import comment

VERSION = "1.0.0"  # every build system asks for one; the description names the bundle
_PROGRAM = ("main.c", "golden.h")


class Layout(enum.StrEnum):
    """Build systems by name."""

    PLAIN = "plain"
    CMAKE = "cmake"
    ARDUINO = "arduino"
    ZEPHYR = "zephyr"
    ESP_IDF = "esp-idf"
    PLATFORMIO = "platformio"


@dataclass(frozen=True, slots=True)
class Library:
    """What build files are made of: the C identifier `name`, and the .c files in order."""

    name: str
    description: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rule:
    """Folders of the library's sources and of its program, and files by path."""

    sources: str
    program: str
    files: Mapping[str, Callable[[Library], str]]
    without: tuple[str, ...] = ()  # what a file of `files` replaces


def lay_out(
    files: Mapping[str, bytes], name: str, description: str, layout: Layout
) -> dict[str, bytes]:
    """Generated C, by name, as files by path below the library's folder.

    A shared object for one kind of machine stays with the plain layout: the others are built.
    """
    rule = _RULES[layout]
    if layout is not Layout.PLAIN:
        files = {file: data for file, data in files.items() if not file.endswith(".so")}
    sources = tuple(n for n in sorted(files) if n.endswith(".c") and n not in _PROGRAM)
    paths = [f"{rule.sources}{source}" for source in sources]
    library = Library(identifier(name), _one_line(description), tuple(paths))
    laid = {
        (rule.program if file in _PROGRAM else rule.sources) + file: data
        for file, data in files.items()
        if file not in rule.without
    }
    made = {path: text(library).encode("ascii") for path, text in rule.files.items()}
    return dict(sorted((laid | made).items()))


def gather(folder: Path) -> tuple[Path, ...]:
    """The C files below `folder`, laid out in any of these ways: the library's and the program's.

    Other folders, such as those that a build writes into, are not looked at.
    """
    for rule in _RULES.values():
        sources, program = folder / rule.sources, folder / rule.program
        if (sources / "model.h").is_file() and (program / "golden.h").is_file():
            places = dict.fromkeys((sources, program))
            return tuple(path for place in places for path in sorted(place.glob("*.[ch]")))
    return tuple(sorted(folder.glob("*.[ch]")))


def identifier(name: str) -> str:
    """`name` as a C identifier in lower case, which every build system takes."""
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return word if word[:1].isalpha() else f"model_{word}".rstrip("_")


def _one_line(text: str) -> str:
    """Nothing that a quoted string of any of these formats would have to escape."""
    return re.sub(r"[^\w .,:()/-]", " ", comment(text), flags=re.ASCII).strip()


def _rows(sources: Sequence[str], indent: int) -> str:
    return "".join(f"\n{' ' * indent}{source}" for source in sources)


def _cmake(library: Library) -> str:
    return f"""\
# {library.description}
cmake_minimum_required(VERSION 3.13)
project({library.name} C)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

add_library({library.name} STATIC{_rows(library.sources, 2)})
target_include_directories({library.name} PUBLIC src)
set_target_properties({library.name} PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON)

# Proves the library on its golden vectors: ctest.
add_executable({library.name}_golden golden/main.c)
target_link_libraries({library.name}_golden PRIVATE {library.name})
set_target_properties({library.name}_golden PROPERTIES C_STANDARD 99 C_STANDARD_REQUIRED ON)
enable_testing()
add_test(NAME {library.name}_golden COMMAND {library.name}_golden)
"""


def _arduino(library: Library) -> str:
    return f"""\
name={library.name}
version={VERSION}
author=edgekiln
maintainer=edgekiln
sentence={library.description}
paragraph=The sources are in src, a sketch that runs the golden vectors in examples.
category=Data Processing
url=
architectures=*
includes=model.h
"""


def _sketch(library: Library) -> str:
    return f"""\
/* {library.description}: tells on the serial line how many golden vectors differ. */
#include <stdint.h>

extern "C" {{
#include <model.h>
}}

#include "golden.h"

static model context;

static int differs(int sample) {{
    int8_t *input = model_input(&context);
    for (int32_t i = 0; i < MODEL_INPUT_SIZE; i++) {{
        input[i] = golden_inputs[sample][i];
    }}
    model_invoke(&context);
    const int8_t *output = model_output(&context);
    for (int32_t i = 0; i < MODEL_OUTPUT_SIZE; i++) {{
        if (output[i] != golden_outputs[sample][i]) {{
            return 1;
        }}
    }}
    return 0;
}}

void setup() {{
    Serial.begin(115200);
}}

void loop() {{
    int differing = 0;
    for (int sample = 0; sample < GOLDEN_COUNT; sample++) {{
        differing += differs(sample);
    }}
    Serial.print(differing);
    Serial.println(" golden vectors differ");
    delay(1000);
}}
"""


def _zephyr_module(library: Library) -> str:
    return f"""\
name: {library.name}
build:
  cmake: .
  kconfig: Kconfig
"""


def _zephyr_kconfig(library: Library) -> str:
    return f"""\
config {library.name.upper()}
	bool "{library.description}"
"""


def _zephyr_cmake(library: Library) -> str:
    return f"""\
if(CONFIG_{library.name.upper()})
  zephyr_include_directories(src)
  zephyr_library_named({library.name})
  zephyr_library_sources({_rows(library.sources, 4)}
  )
  zephyr_library_compile_options(-O2)
endif()
"""


def _esp_idf_cmake(library: Library) -> str:
    return f"""\
idf_component_register(
  SRCS{_rows(library.sources, 4)}
  INCLUDE_DIRS src
)
target_compile_options(${{COMPONENT_LIB}} PRIVATE -O2)
"""


def _esp_idf_manifest(library: Library) -> str:
    return f"""\
version: "{VERSION}"
description: "{library.description}"
"""


def _platformio(library: Library) -> str:
    document = {
        "name": library.name,
        "version": VERSION,
        "description": library.description,
        "frameworks": "*",
        "platforms": "*",
        "headers": "model.h",
        "build": {"srcDir": "src", "includeDir": "src", "unflags": ["-Os"], "flags": ["-O2"]},
    }
    return json.dumps(document, indent=2) + "\n"


_RULES: Mapping[Layout, _Rule] = {
    Layout.PLAIN: _Rule("", "", {}),
    Layout.CMAKE: _Rule("src/", "golden/", {"CMakeLists.txt": _cmake}),
    Layout.ARDUINO: _Rule(
        "src/",
        "examples/golden/",
        {"library.properties": _arduino, "examples/golden/golden.ino": _sketch},
        without=("main.c",),
    ),
    Layout.ZEPHYR: _Rule(
        "src/",
        "golden/",
        {
            "zephyr/module.yml": _zephyr_module,
            "Kconfig": _zephyr_kconfig,
            "CMakeLists.txt": _zephyr_cmake,
        },
    ),
    Layout.ESP_IDF: _Rule(
        "src/",
        "golden/",
        {"CMakeLists.txt": _esp_idf_cmake, "idf_component.yml": _esp_idf_manifest},
    ),
    Layout.PLATFORMIO: _Rule("src/", "golden/", {"library.json": _platformio}),
}

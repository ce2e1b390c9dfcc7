"""The kernel files that a list of calls needs: each call's own file and what those include."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_KERNELS = Path(__file__).parent / "c"
_FOLDERS = ("common", "portable", "dsp", "helium")
_INCLUDE = re.compile(r'^#include "(ek_\w+\.h)"$', re.M)


def kernel_files(kernels: Iterable[str], headers: Iterable[str]) -> dict[str, bytes]:
    """Files by name: `KERNEL.c` of each kernel, the headers, and their includes."""
    files: dict[str, bytes] = {}
    wanted = [*(f"{kernel}.c" for kernel in kernels), *headers]
    while wanted:
        name = wanted.pop()
        if name not in files:
            files[name] = _path(name).read_bytes()
            wanted += _INCLUDE.findall(files[name].decode("ascii"))
    return files


def main_file() -> bytes:
    """The program that proves a model on its golden vectors."""
    return _path("main.c").read_bytes()


def answering_main() -> bytes:
    """The program that answers samples from its standard input."""
    return (_KERNELS / "host" / "answer.c").read_bytes()


def _path(name: str) -> Path:
    return next(path for folder in _FOLDERS if (path := _KERNELS / folder / name).exists())

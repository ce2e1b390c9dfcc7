"""`profile_folder`, `measure_folder`: which functions and calls emulated instructions go into.

A layer of generated C is one call that `model_invoke` makes, so the counting plugin notes where
control comes back to it: nothing is added to the code that is counted.
"""

from __future__ import annotations

import bisect
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .emulate import (
    Emulation,
    build_image,
    emulation_of,
    functions_of,
    machine_of,
    run_image,
)
from .target import Target

Functions = tuple[tuple[int, str], ...]  # (address, name), by rising address


@dataclass(frozen=True, slots=True)
class FunctionCount:
    """A function and the instructions of one invoke that are its own, callees not counted."""

    name: str
    instructions: int


@dataclass(frozen=True, slots=True)
class FolderCounts:
    """One run of a folder: its figures, and where the instructions go.

    `functions` by falling count, means over the golden vectors. `calls` are those of
    `model_invoke` in order, in the slowest invoke; what it does itself counts to the next call,
    and after the last to that one, so that they add up to the instructions.
    """

    emulation: Emulation
    functions: tuple[FunctionCount, ...]
    calls: tuple[int, ...]


def profile_folder(folder: Path, target: Target) -> tuple[FunctionCount, ...]:
    """Functions of `folder` by falling count, means over its golden vectors.

    What the compiler inlined counts to its caller. Raises as `emulate_folder` does.
    """
    return measure_folder(folder, target).functions


def measure_folder(folder: Path, target: Target) -> FolderCounts:
    """Build the C files of `folder` for the core of `target`, run them, and count everything.

    Raises as `emulate_folder` does.
    """
    machine = machine_of(target)
    with tempfile.TemporaryDirectory(prefix="edgekiln-profile-") as name:
        image = build_image(folder, machine, Path(name))
        functions = functions_of(image, machine)
        counted, called = image.with_name("profile.txt"), image.with_name("calls.txt")
        bound = f"caller_end={_end_of(functions, 'model_invoke')}"
        options = (f"profile={counted}", bound, f"calls={called}")
        invokes, text = run_image(image, machine, *options)
        emulation = emulation_of(image, machine, invokes, text)
        counts = _by_function(counted.read_text().splitlines(), functions, len(invokes))
        returns = called.read_text().splitlines()
    slowest = max(range(len(invokes)), key=lambda index: invokes[index])
    calls = _calls([int(mark) for mark in returns[slowest].split()], emulation.instructions)
    return FolderCounts(emulation, counts, calls)


def _end_of(functions: Functions, name: str) -> int:
    """The address where the function after `name` begins."""
    names = [function for _, function in functions]
    after = names.index(name) + 1 if name in names else len(names)
    return functions[after][0] if after < len(functions) else 1 << 32


def _by_function(
    lines: Iterable[str], functions: Functions, invokes: int
) -> tuple[FunctionCount, ...]:
    starts = [start for start, _ in functions]
    counts: Counter[str] = Counter()
    for line in lines:
        address, count = map(int, line.split())
        if functions and address >= starts[0]:
            counts[functions[bisect.bisect_right(starts, address) - 1][1]] += count
    return tuple(FunctionCount(name, count // invokes) for name, count in counts.most_common())


def _calls(returns: list[int], instructions: int) -> tuple[int, ...]:
    if not returns:
        return ()
    ends = [*returns[:-1], instructions]
    return tuple(end - start for start, end in zip([0, *ends[:-1]], ends, strict=True))

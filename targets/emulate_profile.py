"""`profile_folder`: which functions of generated C its emulated instructions go into."""

from __future__ import annotations

import bisect
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .emulate import build_image, functions_of, machine_of, run_image
from .target import Target


@dataclass(frozen=True, slots=True)
class FunctionCount:
    """A function and the instructions of one invoke that are its own, callees not counted."""

    name: str
    instructions: int


def profile_folder(folder: Path, target: Target) -> tuple[FunctionCount, ...]:
    """Functions of `folder` by falling count, means over its golden vectors.

    What the compiler inlined counts to its caller. Raises as `emulate_folder` does.
    """
    machine = machine_of(target)
    with tempfile.TemporaryDirectory(prefix="edgekiln-profile-") as name:
        image = build_image(folder, machine, Path(name))
        counted = image.with_name("profile.txt")
        invokes, _ = run_image(image, machine, f"profile={counted}")
        functions = functions_of(image, machine)
        lines = counted.read_text().splitlines()
    starts = [start for start, _ in functions]
    counts: Counter[str] = Counter()
    for line in lines:
        address, count = map(int, line.split())
        if functions and address >= starts[0]:
            counts[functions[bisect.bisect_right(starts, address) - 1][1]] += count
    return tuple(FunctionCount(name, count // len(invokes)) for name, count in counts.most_common())

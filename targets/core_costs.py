"""`core_table`: what generated C costs on a core, from instructions counted under emulation.

One file for each emulated core in `instructions/` beside this module (which is not called
instructions.py, because mypy would take the folder for it): for each loop of the kernels
the instructions that one pass takes. Every microcontroller with that core shares them; its profile
adds the clock and the cycles of an instruction. `python -m benchmarks.fit_instructions` writes the
files.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import msgspec

from .core import cost_table
from .errors import ProfileError
from .evidence import Tier
from .machines import MACHINES
from .profile_schema import InstructionsFile
from .target import CostTable, Evidence, OpCost, Target

FOLDER = Path(__file__).with_name("instructions")
EVIDENCE_ID = "core-instructions"
_DIGITS = 6  # as profiles are written
_FILES = {machine: core for core, machine in reversed(tuple(MACHINES.items()))}


def core_table(target: Target) -> CostTable | None:
    """The T2 table of engine `c` that the target's core, clock and cycles per instruction give.

    None where the core has no file, or the profile states no cycles per instruction.
    """
    if target.device_class != "mcu":
        return None
    return loops_table(target.core, target.clock_hz, target.cycles_per_instruction)


def loops_table(
    core: str, clock_hz: int, cycles: tuple[float, float, float] | None
) -> CostTable | None:
    """`core_table` of a core at a clock."""
    if cycles is None or instruction_table(core) is None:
        return None
    return _of_core(core, clock_hz, cycles)


def loops_bytes(core: str) -> bytes:
    """The file of a core's instructions; nothing where there is none."""
    path = file_of(core) if core.lower() in MACHINES else None
    return path.read_bytes() if path is not None and path.is_file() else b""


def core_evidence(core: str) -> Evidence | None:
    """What the table of a core rests on, or None where it has none."""
    file = _read(file_of(core)) if core.lower() in MACHINES else None
    return None if file is None else Evidence(EVIDENCE_ID, Tier.T2, file.source)


def instruction_table(core: str) -> CostTable | None:
    """Instructions of a core's kernels, as a table at one instruction a nanosecond, or None."""
    file = _read(file_of(core)) if core.lower() in MACHINES else None
    return None if file is None else cost_table(file.costs)


def file_of(core: str) -> Path:
    """Where the instructions of an emulated core are kept; cores of one machine share a file."""
    return FOLDER / f"{_FILES[MACHINES[core.lower()]]}.toml"


def files() -> tuple[Path, ...]:
    """Of all emulated cores, whether or not they are there."""
    return tuple(FOLDER / f"{core}.toml" for core in sorted(set(_FILES.values())))


def timed_table(counted: CostTable, clock_hz: int, cycles: tuple[float, float, float]) -> CostTable:
    """A table of instructions as one of time; `cycles` of an instruction are low, value, high.

    Instructions are exact, cycles are not: their interval widens that of the fit.
    """
    low, value, high = cycles
    ns = value * 1e9 / clock_hz
    return dataclasses.replace(
        counted,
        ops={op: _timed(cost, ns) for op, cost in counted.ops.items()},
        per_run_us=_rounded(counted.per_run_us * ns),
        low_ratio=_rounded(counted.low_ratio * low / value),
        high_ratio=_rounded(counted.high_ratio * high / value),
    )


@functools.cache
def _of_core(core: str, clock_hz: int, cycles: tuple[float, float, float]) -> CostTable | None:
    counted = instruction_table(core)
    return None if counted is None else timed_table(counted, clock_hz, cycles)


def _timed(cost: OpCost, ns: float) -> OpCost:
    loops = {name: _rounded(count * ns) for name, count in cost.loops.items()}
    return OpCost(0.0, 0.0, 0.0, loops=loops)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


@functools.cache
def _read(path: Path) -> InstructionsFile | None:
    if not path.is_file():
        return None
    try:
        return msgspec.toml.decode(path.read_bytes(), type=InstructionsFile)
    except msgspec.DecodeError as error:
        raise ProfileError(f"instructions {path}: {error}") from error

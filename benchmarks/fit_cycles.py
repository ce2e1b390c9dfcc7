"""Cycles per instruction of generated C on Cortex-M cores, from published figures.

    python -m benchmarks.fit_cycles

QEMU counts instructions; what one takes in cycles is put together here, for `targets/cores/`:

- Cortex-M0+, M3, M4: the instruction mix of the MLPerf Tiny models in generated C, counted under
  emulation, times the timings of Arm's technical reference manuals (Cortex-M0+ DDI 0484, M3 DDI
  0337, M4 DDI 0439, "Instruction set summary"). They give ranges: a load behind another takes one
  cycle instead of two, refilling the pipeline after a taken branch one to three. Flash wait states
  and bus contention are in no manual, and not in these figures; the Cortex-M4's file states more
  than is printed here.
- Cortex-M33: Arm publishes no timings. Published MLPerf Tiny rows have engines that ran on a
  Cortex-M4 and a Cortex-M33: the ratio of their cycles, times what the Cortex-M4's file states.

No published figure was found for the Cortex-M7, M55, M85 and the ESP32-C3's core: their profiles
state no cycles per instruction, and their latency is not known.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.importers import import_model
from edgekiln.targets.emulate import build_image, missing_tools, run_image
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.profiles import load_target

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("ic_resnet8", "kws_dscnn", "vww_mbv1", "ad_fc")
TIMED = ("cortex-m0plus", "cortex-m3", "cortex-m4f")  # Arm publishes what their instructions take

# Boards whose rows have both cores under one engine: MHz by a part of the system's name.
M4_BOARD = ("L4R5", 120)
M33_BOARDS = (("U575", 160), ("U585", 160), ("NRF5340", 128))

Range = tuple[float, float, float]  # low, value, high

_LINE = re.compile(r"^\s*([0-9a-f]+):\t[0-9a-f ]+\t(\S+)\s*(.*)$")
_ACCESS = re.compile(r"(ldr|str)(b|h|sb|sh|t|bt|ht)?$")
_CONDITIONS = "eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"


@dataclass(frozen=True, slots=True)
class Instruction:
    """A line of a disassembly and how often it ran."""

    name: str
    operands: str
    count: int
    taken: int  # of a branch
    follows_access: bool


def main() -> int:
    """Print the range of every core."""
    data = Path(os.environ.get("EDGEKILN_DATA", ROOT.parent / "shared" / "data"))
    if not data.is_dir():
        print(f"no data folder {data}; set EDGEKILN_DATA", file=sys.stderr)
        return 2
    if absent := missing_tools():
        print(f"not installed: {', '.join(absent)} (make system)", file=sys.stderr)
        return 2
    found = {core: core_range(core, data / "mlperf_tiny") for core in TIMED}
    rows = data / "latency" / "mlperf_tiny_published.csv"
    stated = load_target("cortex-m4").cycles_per_instruction
    assert stated is not None
    found["cortex-m33"] = scaled(stated, published_ratios(rows))
    for core, cycles in found.items():
        print(f"# targets/cores/{core}.toml")
        print(f"cycles_per_instruction = [{', '.join(f'{cycle:.2f}' for cycle in cycles)}]")
    return 0


def core_range(core: str, folder: Path) -> Range:
    """Least, mean and most cycles per instruction over the models."""
    ranges = [
        mean_cycles(list(executed(folder / f"{name}_int8.tflite", core)), TIMINGS[core])
        for name in MODELS
    ]
    lows, values, highs = zip(*ranges, strict=True)
    return min(lows), float(np.mean(values)), max(highs)


def mean_cycles(instructions: list[Instruction], timing: Callable[[Instruction], Range]) -> Range:
    """Cycles per executed instruction."""
    total = sum(item.count for item in instructions)
    sums = np.sum([np.multiply(timing(item), item.count) for item in instructions], axis=0)
    low, value, high = (float(cycles) / total for cycles in sums)
    return low, value, high


def executed(path: Path, core: str) -> Iterator[Instruction]:
    """What ran of a model's generated C, on the emulated core."""
    graph, machine = import_model(path), MACHINES[core]
    golden = np.random.default_rng(0).integers(-128, 128, graph.input.shape).astype(np.int8)
    with tempfile.TemporaryDirectory(prefix="edgekiln-cycles-") as name:
        folder = Path(name)
        emit_c(graph, golden, family_of_core(core)).write(folder)
        image = build_image(folder, machine, folder)
        run_image(image, machine, f"profile={folder / 'profile.txt'}")
        rows = (folder / "profile.txt").read_text().split("\n")
        counts = Counter({int(a): int(n) for a, n in (row.split() for row in rows if row)})
        listing = subprocess.run(
            (f"{machine.prefix}objdump", "-d", str(image)),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    yield from _instructions(listing, counts)


def _instructions(listing: str, counts: Mapping[int, int]) -> Iterator[Instruction]:
    lines = [match for line in listing.splitlines() if (match := _LINE.match(line))]
    before = ""
    for line, after in zip(lines, [*lines[1:], None], strict=True):
        count = counts.get(int(line[1], 16), 0)
        name = line[2].removesuffix(".w").removesuffix(".n")
        fell_through = counts.get(int(after[1], 16), 0) if after else 0
        if count:
            taken = max(0, count - fell_through)
            yield Instruction(name, line[3], count, taken, bool(_ACCESS.match(before)))
        before = name


def _registers(operands: str) -> int:
    """How many registers a list like {r4-r7, lr} holds."""
    inside = operands[operands.find("{") + 1 : operands.find("}")]
    count = 0
    for part in inside.split(","):
        ends = [_NUMBERS.get(end.strip(), 0) for end in part.split("-")]
        count += ends[-1] - ends[0] + 1
    return count


_NUMBERS = {f"r{number}": number for number in range(13)} | {
    name: 9 + index for index, name in enumerate(("sl", "fp", "ip", "sp", "lr", "pc"), start=1)
}


def _branch(item: Instruction, refill: Range) -> Range | None:
    """A branch, one cycle and the refill where it is taken."""
    always = {"b", "bl", "bx", "blx"}
    if item.name in always:
        return tuple(1 + cycles for cycles in refill)  # type: ignore[return-value]
    if item.name in ("cbz", "cbnz") or re.fullmatch(rf"b({_CONDITIONS})", item.name):
        share = item.taken / item.count
        return tuple(1 + share * cycles for cycles in refill)  # type: ignore[return-value]
    return None


def _several(item: Instruction, refill: Range) -> Range | None:
    """Loads and stores of a list: one cycle, one for each register, a refill for the counter."""
    if not re.match(r"(ldm|stm|push|pop)", item.name):
        return None
    cycles = 1 + _registers(item.operands)
    jump = refill if "pc" in item.operands else (0.0, 0.0, 0.0)
    return cycles + jump[0], cycles + jump[1], cycles + jump[2]


def _m3_m4(item: Instruction, products: Mapping[str, Range]) -> Range:
    refill = (1.0, 2.0, 3.0)
    if (branch := _branch(item, refill)) is not None:
        return branch
    if (several := _several(item, refill)) is not None:
        return several
    if item.name in ("ldrd", "strd"):
        return 2.0, 3.0, 3.0
    if _ACCESS.match(item.name):
        return 1.0, (1.0 if item.follows_access else 2.0), 2.0
    if item.name.startswith("it"):
        return 0.0, 1.0, 1.0
    return products.get(item.name, (1.0, 1.0, 1.0))


_DIVISIONS: Mapping[str, Range] = {"sdiv": (2.0, 7.0, 12.0), "udiv": (2.0, 7.0, 12.0)}
_M3_PRODUCTS: Mapping[str, Range] = _DIVISIONS | {
    "mla": (2.0, 2.0, 2.0),
    "mls": (2.0, 2.0, 2.0),
    "smull": (3.0, 4.0, 5.0),
    "umull": (3.0, 4.0, 5.0),
    "smlal": (4.0, 5.5, 7.0),
    "umlal": (4.0, 5.5, 7.0),
}


def _m0plus(item: Instruction) -> Range:
    """Of the multipliers the fast one: both chips of the catalog have it."""
    refill = (1.0, 1.0, 1.0)
    if item.name == "bl":
        return 3.0, 3.0, 3.0
    if (branch := _branch(item, refill)) is not None:
        return branch
    if (several := _several(item, (2.0, 2.0, 2.0))) is not None:
        return several
    return (2.0, 2.0, 2.0) if _ACCESS.match(item.name) else (1.0, 1.0, 1.0)


TIMINGS: Mapping[str, Callable[[Instruction], Range]] = {
    "cortex-m0plus": _m0plus,
    "cortex-m3": lambda item: _m3_m4(item, _M3_PRODUCTS),
    "cortex-m4f": lambda item: _m3_m4(item, _DIVISIONS),
}


def published_ratios(path: Path) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Cycles on a Cortex-M33 over cycles on a Cortex-M4, of one engine and model in one round."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    m4 = {_engine(row): _cycles(row, M4_BOARD) for row in rows if _is(row, M4_BOARD)}
    ratios = [
        _cycles(row, board) / m4[_engine(row)]
        for board in M33_BOARDS
        for row in rows
        if _is(row, board) and _engine(row) in m4
    ]
    return np.array(ratios)


def scaled(m4: Range, ratios: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Range:
    """The Cortex-M4's range times the ratios' 10 % quantile, median and 90 % quantile."""
    low, value, high = (float(x) for x in np.quantile(ratios, (0.1, 0.5, 0.9)))
    print(f"# Cortex-M33 over M4, {len(ratios)} pairs: {low:.3f}, {value:.3f}, {high:.3f}")
    return m4[0] * low, m4[1] * value, m4[2] * high


def _is(row: Mapping[str, str], board: tuple[str, int]) -> bool:
    return board[0] in row["system"].upper().replace("_", "-").replace("-", "")


def _cycles(row: Mapping[str, str], board: tuple[str, int]) -> float:
    return float(row["latency_ms"]) * board[1] * 1e3


def _engine(row: Mapping[str, str]) -> tuple[str, ...]:
    """What ran: rows of one round, submitter and framework, microTVM by its kernels."""
    system = row["system"].upper().replace("-", "_")
    kernels = "cmsis" if "CMSIS" in system else "native" if "NATIVE" in system else ""
    return row["round"], row["submitter"], row["framework"], kernels, row["task"]


if __name__ == "__main__":
    raise SystemExit(main())

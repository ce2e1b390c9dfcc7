"""Count the instructions of our kernels' loops under emulation, and write `targets/instructions/`.

    python -m benchmarks.fit_instructions [CORE…]

Without a core all emulated ones are counted, a few minutes each. It is what `edgekiln targets
calibrate` does for a microcontroller, at one instruction a nanosecond. An unfinished count goes on
where it stopped (`benchmarks/results/CORE.jsonl`); kernels that changed need that file removed.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from edgekiln.compiler.probes import Measuring, calibrate
from edgekiln.targets.core_costs import EVIDENCE_ID, file_of, files
from edgekiln.targets.profile_text import instructions_text
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Count the cores that are named, or all."""
    RESULTS.mkdir(exist_ok=True)
    for core in sys.argv[1:] or [path.stem for path in files()]:
        print(f"{core}: counting …", flush=True)
        measuring = Measuring(journal=RESULTS / f"{core}.jsonl", say=_say)
        counted = calibrate(_target(core), measuring=measuring)
        table, source = counted.costs[0], counted.evidence[-1].source
        source = source.rpartition(";")[0] + f"; python -m benchmarks.fit_instructions {core}"
        path = file_of(core)
        text = instructions_text(dataclasses.replace(table, evidence_id=EVIDENCE_ID), source)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}: held-out error {table.heldout_median_ape:.2%}")
    return 0


def _target(core: str) -> Target:
    """A core at 1 GHz and one cycle an instruction, so that a nanosecond is one."""
    like = load_target("cortex-m4")
    return dataclasses.replace(
        like, id=core, core=core, clock_hz=10**9, cycles_per_instruction=(1.0, 1.0, 1.0)
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

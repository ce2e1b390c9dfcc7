"""Count the instructions of our kernels' loops under emulation, and write `targets/instructions/`.

    python -m benchmarks.fit_instructions [CORE…]

Without a core all of them are counted, a few minutes each. Chains of random layers are chosen by
D-optimal design from many, run in C on the emulated core and counted layer by layer; what a pass of
each loop takes is fitted (`edgekiln.targets.fit_loops`). The interval is that of whole networks of
families that no chain resembles.
"""

from __future__ import annotations

import dataclasses
import sys

from edgekiln.compiler.count_loops import loop_table
from edgekiln.targets.instructions import EVIDENCE_ID, file_of, files
from edgekiln.targets.profile_text import instructions_text
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

SEED = 0


def main() -> int:
    """Count the cores that are named, or all."""
    for core in sys.argv[1:] or sorted(path.stem for path in files()):
        print(f"{core}: counting …", flush=True)
        table, source = loop_table(_target(core), SEED, print)
        path = file_of(core)
        path.parent.mkdir(exist_ok=True)
        text = instructions_text(dataclasses.replace(table, evidence_id=EVIDENCE_ID), source)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}: {table.samples} chains, held-out error {table.heldout_median_ape:.2%}")
    return 0


def _target(core: str) -> Target:
    return dataclasses.replace(load_target("cortex-m4"), id=core, core=core)


if __name__ == "__main__":
    raise SystemExit(main())

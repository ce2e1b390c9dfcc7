"""The C detector of a device with 46 rows on emulated cores: instructions, code, tables and RAM."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

from edgekiln.compiler.emit_drift import emit_drift
from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.reference import Reference, build_reference, steps_of
from edgekiln.targets.emulate import build_image, emulation_of, missing_tools, run_image
from edgekiln.targets.machines import MACHINES, Machine

from .figure import Figure

CORES = {
    "cortex-m4f": Machine(
        "mps2-an386", ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
    ),
    "cortex-m0plus": MACHINES["cortex-m0plus"],
}
OBSERVATIONS = 200
_MAIN = """
#include "drift_reference.h"
#include "ek_port.h"

extern const float values[%(count)d][DRIFT_ROWS];
static uint8_t bins[DRIFT_ROWS];

__attribute__((noinline)) void model_invoke(int32_t at);
void model_invoke(int32_t at) {
    for (int32_t row = 0; row < DRIFT_ROWS; row++) {
        bins[row] = ek_drift_bin(&drift_features[row], values[at][row], 0.5f);
    }
    ek_drift_observe(&drift_detector, bins, at %% DRIFT_CLASSES);
}

int main(void) {
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xF00000; /* CPACR: the floating-point unit */
    __asm__ volatile("dsb\\nisb");
#endif
    ek_drift_start(&drift_detector);
    for (int32_t at = 0; at < %(count)d; at++) {
        ek_probe_begin();
        model_invoke(at);
        ek_probe_end();
    }
    return 0;
}
"""


def figures(seed: int) -> Iterator[Figure]:
    """Of each core whose tools are here."""
    rng = np.random.default_rng(seed)
    contract = Contract(TensorSpec("x", (42,)), tuple("abcdefghij"))
    raw = rng.normal(size=(5000, 42)).astype(np.float32)
    reference = build_reference(
        contract, raw, rng.random(5000, np.float32), rng.integers(0, 10, 5000)
    )
    values = np.concatenate((raw[:OBSERVATIONS], raw[:OBSERVATIONS, :3]), axis=1)
    for core, machine in CORES.items():
        if absent := missing_tools(machine.tools):
            yield Figure(f"C on {core}: no {', '.join(absent)}", 0, "runs", "exact")
            continue
        with tempfile.TemporaryDirectory() as name:
            yield from _run(core, machine, reference, values, Path(name))


def _run(
    core: str, machine: Machine, reference: Reference, values: np.ndarray, folder: Path
) -> Iterator[Figure]:
    sources, build = folder / "sources", folder / "build"
    sources.mkdir()
    build.mkdir()
    files = emit_drift(reference)
    for file, data in files.items():
        (sources / file).write_bytes(data)
    (sources / "main.c").write_text(_MAIN % {"count": len(values)})
    rows = ",".join("{" + ",".join(f"{float(v).hex()}f" for v in row) + "}" for row in values)
    width = values.shape[1]
    (sources / "weights.c").write_text(
        f"const float values[{len(values)}][{width}] = {{{rows}}};\n"
    )
    image = build_image(sources, machine, build)
    counts, text = run_image(image, machine)
    found = emulation_of(image, machine, counts, text)
    steps = sum(map(len, map(steps_of, (*reference.features, reference.confidence))))
    what = f"C on {core}, {width + 1} rows"
    yield Figure(f"{what}: an observation", median(counts), "instr.", "T2")
    yield Figure(f"{what}: one in 32", max(counts), "instr.", "T2")
    yield Figure(f"{what}: code and tables", found.code_bytes, "B", "exact")
    yield Figure(f"{what}: of them steps of features", 16 * steps, "B", "exact")
    yield Figure(f"{what}: RAM", found.ram_bytes, "B", "exact")

"""Many graphs as one program of generated C: built once, run once, on this machine or a core.

Each graph's names get a prefix of its own, kernels are shared. The program runs every graph on its
golden inputs and prints for each how many samples differ from the integer reference, one byte.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.graph import Graph
from edgekiln.targets.emulate import Emulation, emulate_folder
from edgekiln.targets.target import Target

MOST = 40  # graphs in one program: a build takes seconds
_OWN = ("model.c", "model.h", "weights.c", "weights.h", "golden.h")
_NAMES = re.compile(
    r"\b(model(?=_|\b)|golden(?=_|\.h)|weights(?=\.h)|(MODEL|GOLDEN)(?=_)|WEIGHTS(?=_H))"
)

_CHECK = """
int PREFIX_differing(void);
int PREFIX_differing(void) {
    static PREFIX_model context;
    int differing = 0;
    for (int32_t sample = 0; sample < PREFIX_GOLDEN_COUNT; sample++) {
        int8_t *const input = PREFIX_model_input(&context);
        for (int32_t i = 0; i < PREFIX_MODEL_INPUT_SIZE; i++) {
            input[i] = PREFIX_golden_inputs[sample][i];
        }
        PREFIX_model_invoke(&context);
        const int8_t *const output = PREFIX_model_output(&context);
        int wrong = 0;
        for (int32_t i = 0; i < PREFIX_MODEL_OUTPUT_SIZE; i++) {
            wrong |= output[i] != PREFIX_golden_outputs[sample][i];
        }
        differing += wrong;
    }
    return differing;
}
"""
_MAIN = """
#ifdef EK_PORT
#include "ek_port.h"
#else
#include <stdio.h>
#define ek_putchar putchar
#define ek_probe_begin() ((void)0)
#define ek_probe_end() ((void)0)
#endif
DECLARED
static int (*const checks[])(void) = {LISTED};
static unsigned char results[sizeof checks / sizeof *checks];
void model_invoke(void);
void model_invoke(void) {
    for (unsigned i = 0; i < sizeof results; i++) {
        results[i] = (unsigned char)checks[i]();
    }
}
int main(void) {
    ek_probe_begin();
    model_invoke();
    ek_probe_end();
    for (unsigned i = 0; i < sizeof results; i++) {
        ek_putchar("0123456789abcdef"[results[i] >> 4]);
        ek_putchar("0123456789abcdef"[results[i] & 15]);
    }
    ek_putchar('\\n');
    return 0;
}
"""


def batch_sources(graphs: Sequence[Graph], samples: int, family: Family) -> dict[str, bytes]:
    """Files of the program by name. Inputs are noise over all of int8, after both its ends."""
    files: dict[str, bytes] = {}
    for index, graph in enumerate(graphs):
        made = dict(emit_c(graph, _inputs(graph, samples, index), family).files)
        prefix = f"g{index}"
        own = {name: _prefixed(made.pop(name).decode("ascii"), prefix) for name in _OWN}
        own["model.c"] = (
            own["model.c"] + f'#include "{prefix}_golden.h"\n' + _CHECK.replace("PREFIX", prefix)
        )
        files |= made | {f"{prefix}_{name}": text.encode("ascii") for name, text in own.items()}
    names = [f"g{index}_differing" for index in range(len(graphs))]
    main = _MAIN.replace("DECLARED", "\n".join(f"int {name}(void);" for name in names))
    files["main.c"] = main.replace("LISTED", ", ".join(names)).encode("ascii")
    files["weights.c"] = b"typedef int ek_no_weights;\n"
    return files


def differing_on_host(files: dict[str, bytes], *flags: str) -> tuple[int, ...]:
    """Samples that differ, for each graph of a program built with gcc and `flags`."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-batch-") as name:
        folder = _write(files, Path(name))
        sources = sorted(file for file in files if file.endswith(".c"))
        subprocess.run(("gcc", "-std=c99", *flags, *sources, "-o", "run"), cwd=folder, check=True)
        done = subprocess.run((folder / "run",), capture_output=True, text=True, check=True)
    return tuple(bytes.fromhex(done.stdout))


def differing_on_core(files: dict[str, bytes], target: Target) -> tuple[int, ...]:
    """The same on the emulated core of `target`. Raises as `emulate_folder` does."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-batch-") as name:
        found: Emulation = emulate_folder(_write(files, Path(name)), target)
    return tuple(found.outputs)


def _inputs(graph: Graph, samples: int, seed: int) -> npt.NDArray[np.int8]:
    shape = (samples, *graph.input.shape[1:])
    inputs = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    inputs[:1], inputs[1:2] = -128, 127
    return inputs


def _prefixed(text: str, prefix: str) -> str:
    return _NAMES.sub(lambda name: f"{prefix}_{name[0]}", text)


def _write(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder

"""emlearn beside ours: the same fitted scikit-learn models as C for a Cortex-M4.

A network with one hidden layer, fitted on scikit-learn's digits from 0 to 1, and trees, fitted on
them from 0 to 256, so that emlearn's int16 features lose nothing. Both folders run on the emulated
core over the same samples: classes are compared with scikit-learn's, instructions are the most that
a sample took. Bytes are those of code and constants and of static memory, linked with -Os and
nothing that is not called; both bring what they need of libgcc and libm. emlearn's network is
float32, so it is run without and with the floating-point unit of a Cortex-M4F; ours is int8 and
needs none, and is compared with the quicker of the two. emlearn's forests count votes where
scikit-learn adds probabilities.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.errors import EmitError
from edgekiln.compiler.importers.sklearn import import_sklearn
from edgekiln.compiler.oracles import distribution_version
from edgekiln.compiler.passes import optimize
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input
from edgekiln.targets.emulate import build_image, machine_of, missing_tools, run_image
from edgekiln.targets.machines import Machine
from edgekiln.targets.profiles import load_target

from .figure import FULL, Figure, Scale

EMLEARN, TARGET = "emlearn", "cortex-m4"
SAMPLES, QUICK_SAMPLES = 200, 40
LIBRARY = ("expf", "logf", "tanhf", "memcpy", "memset")
PIXEL = 16  # the brightest of scikit-learn's digits
OURS_ENTRY = """
#include "model.h"
static model context;
const int8_t *entry(void) { model_invoke(&context); return model_output(&context); }
"""
PEER_MODEL = """
#include "peer.h"
void model_invoke(const {dtype} *x, int32_t *answer) {{ *answer = peer_predict(x, {features}); }}
"""
NO_FPU, FPU = ("-mfloat-abi=soft",), ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
PEER_ENTRY = """
#include <stdint.h>
static {dtype} context[{features}];
void model_invoke(const {dtype} *x, int32_t *answer);
int32_t entry(void) {{ int32_t answer; model_invoke(context, &answer); return answer; }}
"""
PEER_MAIN = """
#include <stdint.h>
#include "ek_port.h"
static {dtype} context[{features}];
static const {dtype} samples[{count}][{features}] = {{ {samples} }};
void model_invoke(const {dtype} *x, int32_t *answer);
int main(void) {{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: the floating-point unit, if any */
    __asm__ volatile("dsb; isb" ::: "memory");
    for (int i = 0; i < {count}; i++) {{
        int32_t answer;
        for (int k = 0; k < {features}; k++) context[k] = samples[i][k];
        ek_probe_begin();
        model_invoke(context, &answer);
        ek_probe_end();
        ek_putchar('0');
        ek_putchar('0' + (int)answer);
        ek_putchar('\\n');
    }}
    return 0;
}}
"""


@dataclass(frozen=True, slots=True)
class Built:
    """One model as C on the core: its classes of the samples, and what it takes."""

    classes: npt.NDArray[np.int64]
    instructions: int
    flash_bytes: int
    ram_bytes: int


def run(scale: Scale) -> Iterator[Figure]:
    """Agreement with scikit-learn, instructions and bytes, of both where both can."""
    if distribution_version(EMLEARN) == "absent":
        yield Figure(
            f"not installed: {EMLEARN} (pip install 'edgekiln[dev]')", 0, "models", "exact"
        )
        return
    if absent := missing_tools():
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "models", "exact")
        return
    from sklearn.datasets import load_digits

    pixels, y = load_digits(return_X_y=True)
    count = SAMPLES if scale.samples >= FULL.samples else QUICK_SAMPLES
    for name, estimator, dtype in _models(scale.seed):
        x = (pixels / PIXEL if dtype == "float" else pixels * PIXEL).astype(np.float32)
        held_out = x[-count:]
        fitted = estimator.fit(x[:-SAMPLES], y[:-SAMPLES])
        expected = np.asarray(fitted.predict(held_out), np.int64)
        peer = _peer(fitted, held_out, dtype)
        yield from _figures(f"{name}: emlearn", peer, expected)
        if dtype == "float":
            quickest = _peer(fitted, held_out, dtype, FPU)
            yield from _figures(f"{name}: emlearn, FPU", quickest, expected)
            peer = min(peer, quickest, key=lambda built: built.instructions)
        try:
            ours = _ours(fitted, held_out, x[:-SAMPLES:4])
        except EmitError as refused:
            yield Figure(f"{name}: ours: not supported in C", 0, "models", "exact")
            print(f"    {refused}", file=sys.stderr)
            continue
        yield from _figures(f"{name}: ours", ours, expected)
        for what in ("instructions", "flash_bytes", "ram_bytes"):
            ratio = getattr(ours, what) / getattr(peer, what)
            yield Figure(f"{name}: {what.replace('_', ' ')}, ratio", ratio, "", "T2", 1.0)


def _models(seed: int) -> Iterator[tuple[str, Any, str]]:
    """(name, estimator, C type of emlearn's features)."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.tree import DecisionTreeClassifier

    yield "network of 32", MLPClassifier((32,), tol=1e-2, random_state=seed), "float"
    yield "tree", DecisionTreeClassifier(random_state=seed), "int16_t"
    yield "forest of 10", RandomForestClassifier(10, random_state=seed), "int16_t"


def _figures(name: str, built: Built, expected: npt.NDArray[np.int64]) -> Iterator[Figure]:
    agreement = 100 * float((built.classes == expected).mean())
    yield Figure(f"{name}: classes as scikit-learn's", agreement, "%", "exact")
    yield Figure(f"{name}: instructions", built.instructions, "insns", "T2")
    yield Figure(f"{name}: code and constants, -Os", built.flash_bytes, "bytes", "exact")
    yield Figure(f"{name}: static memory", built.ram_bytes, "bytes", "exact")


def _ours(
    estimator: Any, x: npt.NDArray[np.float32], calibration: npt.NDArray[np.float32]
) -> Built:
    target = load_target(TARGET)
    graph = optimize(import_sklearn(estimator, x.shape[1:], "digits"))
    int8 = quantize(graph, calibration)
    sources = emit_c(int8, quantize_input(int8, x), family_of_core(target.core))
    with tempfile.TemporaryDirectory(prefix="edgekiln-ours-") as name:
        folder = Path(name)
        sources.write(folder)
        outputs, instructions = _emulated(folder, machine_of(target))
        classes = np.frombuffer(outputs, np.int8).reshape(len(x), -1).argmax(axis=1)
        (folder / "main.c").write_text(OURS_ENTRY)
        return Built(classes, instructions, *_linked_bytes(folder, machine_of(target)))


def _peer(
    estimator: Any, x: npt.NDArray[np.float32], dtype: str, flags: tuple[str, ...] = NO_FPU
) -> Built:
    with np.errstate():  # emlearn makes every underflow of the process an error
        import emlearn

    with tempfile.TemporaryDirectory(prefix="edgekiln-peer-") as name:
        folder, build = Path(name) / "c", Path(name)
        folder.mkdir()
        with contextlib.chdir(build):  # it builds a program for this machine in ./tmp
            options = {} if dtype == "float" else {"dtype": dtype}
            code = emlearn.convert(estimator, **options).save(name="peer")
        samples = ",".join(str(v) if dtype == "float" else str(int(v)) for v in x.reshape(-1))
        words = {"dtype": dtype, "features": x.shape[1], "count": len(x), "samples": samples}
        (folder / "peer.h").write_text(f"#include <math.h>\n#include <stdint.h>\n{code}")
        (folder / "model.c").write_text(PEER_MODEL.format(**words))
        (folder / "main.c").write_text(PEER_MAIN.format(**words))
        (folder / "weights.c").write_text("")  # the linker script asks for it
        machine = _with_library(machine_of(load_target(TARGET)), str(emlearn.includedir), flags)
        outputs, instructions = _emulated(folder, machine)
        (folder / "main.c").write_text(PEER_ENTRY.format(**words))
        classes = np.frombuffer(outputs, np.uint8).astype(np.int64)
        return Built(classes, instructions, *_linked_bytes(folder, machine))


def _with_library(machine: Machine, headers: str, flags: tuple[str, ...]) -> Machine:
    """The machine with emlearn's headers, and the library functions that its C may call."""
    wanted = (f"-Wl,--undefined={name}" for name in LIBRARY)
    core = [flag for flag in machine.flags if flag not in NO_FPU]
    return dataclasses.replace(
        machine, flags=(*core, *flags, f"-I{headers}", *wanted, "-lm", "-lc")
    )


def _emulated(folder: Path, machine: Machine) -> tuple[bytes, int]:
    """Outputs of all samples, and the most instructions that one took."""
    with tempfile.TemporaryDirectory(prefix="edgekiln-emulate-") as build:
        counts, text = run_image(build_image(folder, machine, Path(build)), machine)
    return bytes.fromhex("".join(text.splitlines()[:-1])), max(counts)


def _linked_bytes(folder: Path, machine: Machine) -> tuple[int, int]:
    """Flash and RAM of what `entry` of main.c reaches."""
    compiler = f"{machine.prefix}gcc"
    flags = [flag for flag in machine.flags if not flag.startswith(("-Wl", "-l"))]
    sources = sorted(str(path) for path in folder.glob("*.c"))
    with tempfile.TemporaryDirectory(prefix="edgekiln-link-") as build:
        image = str(Path(build) / "image.elf")
        tidy = ("-Os", "-w", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections")
        bare = ("-nostartfiles", "--specs=nosys.specs", "-Wl,-e,entry", "-Wl,--undefined=entry")
        command = (compiler, *flags, *tidy, *bare, *sources, "-lm", "-o", image)
        subprocess.run(command, check=True, capture_output=True)
        listing = subprocess.run(
            (f"{machine.prefix}size", "-A", "-d", image), check=True, capture_output=True, text=True
        ).stdout
    sizes = {name: int(n) for name, n in re.findall(r"^(\.\S+)\s+(\d+)", listing, re.MULTILINE)}
    data = sizes.get(".data", 0)
    flash = sizes.get(".text", 0) + sizes.get(".rodata", 0) + data
    return flash, sizes.get(".bss", 0) + data

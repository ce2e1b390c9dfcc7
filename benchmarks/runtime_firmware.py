"""What updates cost a microcontroller: bytes of the C library, instructions to verify, to run.

    python -m benchmarks runtime_firmware

Bytes are those of -Os for the core. Instructions are counted on QEMU's cores in a build with -O2,
as the exported build files have it; they are exact and repeatable. What the model itself pays is
the generated C of an MLPerf Tiny model (`EDGEKILN_DATA`), plain and with its numbers in an image.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import edgekiln.runtime
from edgekiln.compiler.c_image import updatable
from edgekiln.compiler.emit_c import CSources, emit_c
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.importers import import_model
from edgekiln.targets.emulate import (
    Emulation,
    build_image,
    emulate_folder,
    missing_tools,
    run_image,
)
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.machines import MACHINES, PACKAGES
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

from .figure import Figure, Scale
from .plausible import models_folder

LIBRARY = Path(edgekiln.runtime.__file__).parent / "c" / "update"
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m33", "rv32imc")
CRYPTO = ("ek_sha2.c", "ek_field.c", "ek_ed25519.c")
CRYPTO_BYTES = 8_192
MODEL, TARGET = "kws_dscnn", "cortex-m4"
SLOWER = 1.01

# What is counted is a call of model_invoke, from a file of its own so that it is a call.
_WORK = """
#include "ek_ed25519.h"
#include "ek_sha2.h"
#include "case.h"
int result;
uint8_t hash[64];
void model_invoke(void) { WORK }
"""
_MAIN = """
#include "ek_port.h"
extern int result;
void model_invoke(void);
int main(void) {
    ek_probe_begin();
    model_invoke();
    ek_probe_end();
    ek_putchar(result ? '1' : '0');
    ek_putchar('\\n');
    return 0;
}
"""
_VERIFY = "result = ek_ed25519_verify(key, message, sizeof message, signature);"
_HASH = (
    "ek_sha256 state; ek_sha256_init(&state); "
    "ek_sha256_update(&state, kilobyte, sizeof kilobyte); ek_sha256_final(&state, hash); "
    "result = hash[0] == 0x5f;"
)


def run(scale: Scale) -> Iterator[Figure]:
    """Sizes of each core, then instructions, then the model's own cost."""
    if absent := missing_tools(PACKAGES):
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "cores", "exact")
        return
    for core in CORES:
        yield from _sizes(core)
        yield from _instructions(core)
    yield from _model(scale)


def _sizes(core: str) -> Iterator[Figure]:
    machine = MACHINES[core]
    sources = sorted(path.name for path in LIBRARY.glob("*.c") if path.name != "ek_model.c")
    flags = (*machine.flags, "-Os", "-std=c99", "-ffreestanding", "-I", str(LIBRARY), "-c")
    with tempfile.TemporaryDirectory(prefix="edgekiln-sizes-") as name:
        paths = [str(LIBRARY / source) for source in sources]
        subprocess.run((f"{machine.prefix}gcc", *flags, *paths), cwd=name, check=True)
        (Path(name) / "size.c").write_text('#include "ek_update.h"\nek_update update;\n')
        subprocess.run((f"{machine.prefix}gcc", *flags, "size.c"), cwd=name, check=True)
        listing = subprocess.run(
            (f"{machine.prefix}size", *(f"{Path(s).stem}.o" for s in (*sources, "size.c"))),
            cwd=name,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    rows = re.findall(r"^\s*(\d+)\s+(\d+)\s+(\d+).*\s(\w+)\.o$", listing, re.M)
    text = {f"{stem}.c": int(size) for size, _, _, stem in rows if stem != "size"}
    (state,) = (int(data) + int(bss) for _, data, bss, stem in rows if stem == "size")
    crypto = sum(text[source] for source in CRYPTO)
    yield Figure(f"{core}: Ed25519, SHA-512, SHA-256", crypto, "bytes", "exact", CRYPTO_BYTES)
    yield Figure(f"{core}: the rest of the library", sum(text.values()) - crypto, "bytes", "exact")
    yield Figure(f"{core}: RAM of an ek_update", state, "bytes", "exact")


def _instructions(core: str) -> Iterator[Figure]:
    instructions, stack = _counted(core, _VERIFY)
    yield Figure(f"{core}: verify a signature", instructions, "insns", "T2")
    yield Figure(f"{core}: its stack", stack, "bytes", "T2")
    instructions, _ = _counted(core, _HASH)
    yield Figure(f"{core}: SHA-256 of 1,024 bytes", instructions, "insns", "T2")


def _counted(core: str, work: str) -> tuple[int, int]:
    """Instructions and bytes of stack of `work`, whose result has to be true."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    message = bytes(160)  # as long as what is signed of a head
    arrays = {
        "key": key.public_key().public_bytes_raw(),
        "message": message,
        "signature": key.sign(message),
        "kilobyte": bytes(1024),
    }
    with tempfile.TemporaryDirectory(prefix="edgekiln-firmware-") as name:
        folder, build = Path(name) / "src", Path(name) / "build"
        folder.mkdir()
        build.mkdir()
        for path in LIBRARY.iterdir():
            if path.name not in ("ek_model.c", "ek_model.h"):
                (folder / path.name).write_bytes(path.read_bytes())
        rows = (
            f"static const uint8_t {word}[{len(data)}] = {{{', '.join(map(str, data))}}};\n"
            for word, data in arrays.items()
        )
        (folder / "case.h").write_text("".join(rows))
        (folder / "work.c").write_text(_WORK.replace("WORK", work))
        (folder / "main.c").write_text(_MAIN)
        (folder / "weights.c").write_text("")  # the linker script knows it by its name
        counts, text = run_image(build_image(folder, MACHINES[core], build), MACHINES[core])
    held, _, stack = text.split()
    if held != "1":
        raise MeasurementError(f"{core}: what was counted went wrong")
    return counts[0], int(stack)


def _model(scale: Scale) -> Iterator[Figure]:
    folder = models_folder()
    if folder is None:
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    target = load_target(TARGET)
    graph = import_model(folder / f"{MODEL}_int8.tflite")
    rng = np.random.default_rng(scale.seed)
    codes = rng.integers(-128, 128, (2, *graph.input.shape[1:])).astype(np.int8)
    plain = emit_c(graph, codes, family_of_core(target.core)).files
    image = updatable(plain, "", len(codes))
    before, after = (_emulated(files, target) for files in (plain, image.files))
    assert before.outputs == after.outputs
    ratio = after.instructions / before.instructions
    figures = (
        ("plain C", before.instructions, "insns", None),
        ("what an image adds", after.instructions - before.instructions, "insns", None),
        ("the same, ratio", ratio, "", SLOWER),
        ("code that it adds", after.code_bytes - before.code_bytes, "bytes", None),
        ("stack that it adds", after.stack_bytes - before.stack_bytes, "bytes", None),
        ("plain C's constants", before.weight_bytes, "bytes", None),
        (f"image with {len(codes)} golden vectors", len(image.image), "bytes", None),
    )
    for what, value, unit, at_most in figures:
        yield Figure(f"{MODEL}: {what}", value, unit, "T2", at_most)


def _emulated(files: Mapping[str, bytes], target: Target) -> Emulation:
    with tempfile.TemporaryDirectory(prefix="edgekiln-firmware-") as name:
        CSources(files).write(Path(name))
        return emulate_folder(Path(name), target)

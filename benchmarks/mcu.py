"""Generated C on an emulated Cortex-M4 beside TensorFlow Lite Micro with CMSIS-NN.

The models are the int8 reference models of MLPerf Tiny v1 (`mlperf_tiny` of the data folder,
`EDGEKILN_DATA`). Ours is built and run here, on QEMU's mps2-an386; instructions are exact and
repeatable, outputs must equal the integer reference. The peer's figures were measured once by this
project on the same emulated core, its -O2 kernels and -Ofast CMSIS-NN: tflite-micro 90b983c with
CMSIS-NN 99f736a; its code is that of a build that all four models share. Where a bound is missed,
the functions that instructions go into are printed. What PyPI has of peers runs beside ours in the
same run: `mcu_tflm`, `mcu_emlearn`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekiln.compiler.emit_c import emit_c, memory_plan
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.importers import import_model
from edgekiln.compiler.reference import run_int8
from edgekiln.targets.emulate import emulate_folder, missing_tools
from edgekiln.targets.emulate_profile import profile_folder
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

from .figure import FULL, Figure, Scale

TARGET = "cortex-m4"
SAMPLES, QUICK_SAMPLES = 20, 2
CODE_BYTES = 16_384
WEIGHT_GROWTH = 1.03
PARTS = (
    ("TFLM of PyPI", "mcu_tflm"),  # outputs, arena and operators
    ("emlearn", "mcu_emlearn"),  # a network and trees of scikit-learn
)
PROFILED = 8  # functions shown where a bound is missed


@dataclass(frozen=True, slots=True)
class Peer:
    """What TensorFlow Lite Micro with CMSIS-NN took, and what is asked of ours."""

    instructions: int
    arena_bytes: int
    at_most: float  # ours over theirs
    code_bytes: int = 108_884


PEERS = {
    "ic_resnet8": Peer(29_874_624, 54_996, 17.0e6 / 29_874_624),
    "kws_dscnn": Peer(7_847_770, 22_820, 4.2e6 / 7_847_770),
    "vww_mbv1": Peer(24_721_688, 100_708, 13.5e6 / 24_721_688),
    "ad_fc": Peer(582_587, 2_580, 0.40e6 / 582_587),
}


def run(scale: Scale) -> Iterator[Figure]:
    """Recorded figures first, then peers that run beside ours, named by their part."""
    yield from _recorded(scale)
    for title, module in PARTS:
        for figure in importlib.import_module(f".{module}", __package__).run(scale):
            yield dataclasses.replace(figure, name=f"{title}: {figure.name}")


def _recorded(scale: Scale) -> Iterator[Figure]:
    """Instructions, code, weights and memory of each model, and their ratios to the peer's."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EDGEKILN_DATA", default)) / "mlperf_tiny"
    if not folder.is_dir():
        yield Figure("no models: set EDGEKILN_DATA", 0, "models", "exact")
        return
    if absent := missing_tools():
        yield Figure(f"not installed: {', '.join(absent)} (make system)", 0, "models", "exact")
        return
    samples = SAMPLES if scale.samples >= FULL.samples else QUICK_SAMPLES
    target = load_target(TARGET)
    for name, peer in PEERS.items():
        path = folder / f"{name}_int8.tflite"
        yield from _figures(import_model(path), name, peer, target, samples, scale.seed)


def _figures(
    graph: Graph, name: str, peer: Peer, target: Target, samples: int, seed: int
) -> Iterator[Figure]:
    family = family_of_core(target.core)
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-128, 128, (samples, *graph.input.shape[1:])).astype(np.int8)
    memory = memory_plan(graph, family)
    with tempfile.TemporaryDirectory(prefix="edgekiln-mcu-") as folder_name:
        folder = Path(folder_name)
        emit_c(graph, inputs, family).write(folder)
        ours = emulate_folder(folder, target)
        differing = np.frombuffer(ours.outputs, np.int8) != run_int8(graph, inputs).reshape(-1)
        if ours.instructions > peer.at_most * peer.instructions:
            _print_profile(folder, target)
    original = _constant_bytes(graph)
    ram = ours.ram_bytes + ours.stack_bytes
    figures: tuple[tuple[str, float, str, float | None], ...] = (
        ("bytes of outputs that differ", int(differing.sum()), "bytes", 0),
        ("instructions", ours.instructions, "insns", None),
        ("instructions, TFLM + CMSIS-NN", peer.instructions, "insns", None),
        ("instructions, ratio", ours.instructions / peer.instructions, "", peer.at_most),
        ("code", ours.code_bytes, "bytes", CODE_BYTES),
        ("code, TFLM + CMSIS-NN", peer.code_bytes, "bytes", None),
        ("parameters", ours.weight_bytes, "bytes", None),
        ("parameters over the model's", ours.weight_bytes / original, "", WEIGHT_GROWTH),
        ("activations and scratch", memory.arena_bytes, "bytes", None),
        ("the same, lower bound", memory.lower_bound_bytes, "bytes", None),
        ("stack", ours.stack_bytes, "bytes", None),
        ("RAM in all", ram, "bytes", None),
        ("RAM, TFLM + CMSIS-NN (arena)", peer.arena_bytes, "bytes", None),
        ("RAM, ratio", ram / peer.arena_bytes, "", 1.0),
    )
    for what, value, unit, at_most in figures:
        tier = "T2" if unit in ("insns", "") else "exact"
        yield Figure(f"{name}: {what}", value, unit, tier, at_most)


def _constant_bytes(graph: Graph) -> int:
    """Constants and their quantization as a .tflite file holds them: scales and zero points."""
    constants = [value for value in graph.values.values() if value.data is not None]
    data = sum(value.nbytes for value in constants)
    quants = (value.quant for value in constants if value.quant is not None)
    return data + sum(len(quant.scale) * (4 + 8) for quant in quants)


def _print_profile(folder: Path, target: Target) -> None:
    for function in profile_folder(folder, target)[:PROFILED]:
        print(f"    {function.instructions:>12}  {function.name}", file=sys.stderr)

"""`run_vela`: a file as Vela compiles it for an Ethos-U, and what Vela says of it.

Vela (`ethos-u-vela`, of the extra `mcu`) makes a .tflite whose operators are commands of the NPU
and leaves those that the NPU lacks to the CPU beside it. Bytes are those of what it wrote. Cycles
are its estimate, which its package description does not call accurate: it asks for an FPGA. They
are NPU cycles, and a system configuration states memories relative to the NPU's clock, so that a
device's own clock makes them into time.
"""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.targets.npu import Npu

from .errors import CompileError
from .mcu import need_mcu
from .oracles import distribution_version

VELA = "ethos-u-vela"
_CONFIG = "Arm/vela.ini"  # comes with Vela
_TIMEOUT_S = 300
_KIB = 1024
_LEAST_ARENA_BYTES, _MOST_ARENA_BYTES = 16, 1 << 32  # of an Ethos-U55


@dataclass(frozen=True, slots=True)
class VelaCycles:
    """NPU cycles of one inference. Arithmetic and memories overlap: `total` is not their sum."""

    total: int
    npu: int
    sram: int
    dram: int
    on_chip_flash: int
    off_chip_flash: int


@dataclass(frozen=True, slots=True)
class VelaLayer:
    """One of Vela's operators, `step`, and the `operator` of the file that it comes from.

    `place` is NPU or CPU; what is left to the CPU has no cycles here, which are not known.
    """

    name: str
    operator: str
    step: str
    place: str
    cycles: int
    macs: int


@dataclass(frozen=True, slots=True)
class VelaReport:
    """One file on one NPU. Bytes by memory are the most that is in use there at once.

    `activations_in` names the memory of the activations; `model_bytes` is the size of the file
    that Vela wrote, with constants and commands.
    """

    vela_version: str
    npu: Npu
    cycles: VelaCycles
    sram_bytes: int
    dram_bytes: int
    on_chip_flash_bytes: int
    off_chip_flash_bytes: int
    activations_in: str
    model_bytes: int
    layers: tuple[VelaLayer, ...]

    @property
    def npu_operators(self) -> int:
        """How many of Vela's operators the NPU runs."""
        return sum(layer.place == "NPU" for layer in self.layers)

    @property
    def left_to_cpu(self) -> tuple[VelaLayer, ...]:
        """The operators of the file that the NPU does not run."""
        return tuple(layer for layer in self.layers if layer.place != "NPU")

    @property
    def ram_bytes(self) -> int:
        """Of the memory that holds the activations; the CPU's own operators are not in it."""
        return self.dram_bytes if self.activations_in == "DRAM" else self.sram_bytes


def run_vela(model: bytes, npu: Npu, arena_limit_bytes: int | None = None) -> VelaReport:
    """Compile a quantized .tflite for `npu`.

    Vela spends SRAM on speed until activations fill `arena_limit_bytes`, and takes more only where
    it cannot do with them. A memory mode with SRAM of the NPU's own states that limit itself.

    Raises:
        MissingToolError: Vela is not installed.
        CompileError: it refuses the model or the configuration, or reports otherwise than known.
    """
    need_mcu(VELA)
    with tempfile.TemporaryDirectory(prefix="edgekiln-vela-") as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        _compile(folder, npu, arena_limit_bytes)
        try:
            return _report(folder, npu)
        except (OSError, StopIteration, KeyError, ValueError) as error:
            said = f"the reports of Vela {distribution_version(VELA)} cannot be read: {error!r}"
            raise CompileError(said) from error


def operators_of(layers: Iterable[VelaLayer]) -> str:
    """The operators of the file, each once, by name."""
    return ", ".join(sorted({layer.operator for layer in layers}))


def _compile(folder: Path, npu: Npu, arena_limit_bytes: int | None) -> None:
    options: tuple[str, ...] = (
        *("--accelerator-config", npu.accelerator, "--config", _CONFIG),
        *("--system-config", npu.system_config, "--memory-mode", npu.memory_mode),
        *("--verbose-performance", "--output-dir", str(folder)),
    )
    if arena_limit_bytes is not None and not npu.memory_mode.startswith("Dedicated"):
        limit = min(max(arena_limit_bytes, _LEAST_ARENA_BYTES), _MOST_ARENA_BYTES)
        options = (*options, "--arena-cache-size", str(limit))
    try:
        done = subprocess.run(
            (sys.executable, "-m", "ethosu.vela", str(folder / "model.tflite"), *options),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"Vela did not end within {_TIMEOUT_S} s") from error
    if done.returncode or not _written(folder).is_file():
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise CompileError(f"Vela refuses the model: {said[-1]}")


def _written(folder: Path) -> Path:
    return folder / "model_vela.tflite"


def _report(folder: Path, npu: Npu) -> VelaReport:
    with (folder / f"model_summary_{npu.system_config}.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    return VelaReport(
        vela_version=distribution_version(VELA),
        npu=npu,
        cycles=VelaCycles(
            total=_count(row, "cycles_total"),
            npu=_count(row, "cycles_npu"),
            sram=_count(row, "cycles_sram_access"),
            dram=_count(row, "cycles_dram_access"),
            on_chip_flash=_count(row, "cycles_on_chip_flash_access"),
            off_chip_flash=_count(row, "cycles_off_chip_flash_access"),
        ),
        sram_bytes=_count(row, "sram_memory_used", _KIB),
        dram_bytes=_count(row, "dram_memory_used", _KIB),
        on_chip_flash_bytes=_count(row, "on_chip_flash_memory_used", _KIB),
        off_chip_flash_bytes=_count(row, "off_chip_flash_memory_used", _KIB),
        activations_in=row["feature_map_storage_area"],
        model_bytes=_written(folder).stat().st_size,
        layers=_layers(folder / "model_per-layer.csv"),
    )


def _layers(path: Path) -> tuple[VelaLayer, ...]:
    """The name is the last column and not quoted: a comma in it makes more of them."""
    with path.open(newline="") as file:
        head, *lines = csv.reader(file)
    rows = [dict(zip(head, line, strict=False)) for line in lines]
    return tuple(
        VelaLayer(
            name=",".join(line[head.index("Name") :]),
            operator=row["Original Operator"],
            step=row["NNG Operator"],
            place=row["Target"],
            cycles=_count(row, "Op Cycles"),
            macs=_count(row, "MAC Count"),
        )
        for row, line in zip(rows, lines, strict=True)
    )


def _count(row: Mapping[str, str], key: str, unit: int = 1) -> int:
    """A figure of a report in whole cycles or bytes; ValueError where it is none."""
    figure = float(row[key]) * unit
    if not (math.isfinite(figure) and figure >= 0):
        raise ValueError(f"{key} is {row[key]}")
    return round(figure)

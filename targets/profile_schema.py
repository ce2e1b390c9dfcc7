"""The schema of profile files: what a key may hold, and one line about the first that is wrong.

Two kinds of file: a device (`DeviceFile`) and what devices with one core share (`CoreFile`).
Unknown keys are errors: a misspelt limit must not be a limit that nobody checks.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from .engines import ENGINE_NAMES, ENGINES, EngineName
from .npu import AcceleratorName, MemoryModeName, SystemConfigName, npu_problem

DeviceClass = Literal["host", "linux", "mcu", "npu"]
Format = Literal["tflite", "onnx", "c"]
DTypeName = Literal["int8", "float32"]
OpDTypeName = Literal["int8", "int16", "float32"]
TierName = Literal["T0", "T1", "T2", "T3", "T4"]
IntervalName = Literal["leave-one-out", "split", "family-out"]
CostUnit = Literal["instructions", "cycles"]

ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
ID_TEXT = "lower-case letters, digits, '.' and '-'"
# Below these a figure was given in MHz or KiB: no device that runs a model is so slow or small.
SLOWEST_HZ = 100_000
SMALLEST_BYTES = 512
_BYTES = "a whole number of bytes, such as 262_144 (256 KiB)"
_HZ = "a whole number of Hz, such as 64_000_000"
_ALLOWED = {
    "class": "host, linux, mcu, npu",
    "formats": "tflite, onnx, c",
    "optional_formats": "tflite, onnx, c",
    "dtype": "int8, float32",
    "ops": "int8, int16, float32",
    "tier": "T0, T1, T2, T3, T4",
    "unit": "instructions, cycles",
    "interval": "leave-one-out, split, family-out",
    "engine": ", ".join(ENGINE_NAMES),
    "runtime.name": ", ".join(ENGINE_NAMES),
    "accelerator": ", ".join(get_args(AcceleratorName)),
    "system_config": ", ".join(get_args(SystemConfigName)),
    "memory_mode": ", ".join(get_args(MemoryModeName)),
    "id": ID_TEXT,
    "schema": "1",
    "clock_hz": _HZ,
    "slots": "a whole number, 1 or more",
    "cycles_per_instruction": "[low, value, high], three numbers above 0",
    "latency_ms": "a number of milliseconds",
    "energy_mj": "a number of millijoules",
    "active_mw": "[low, value, high], three numbers of milliwatts above 0",
    **dict.fromkeys(
        (
            *("ram", "flash", "ram_reserved", "flash_reserved", "ram_overhead", "flash_overhead"),
            *("ram_bytes", "flash_bytes"),
        ),
        _BYTES,
    ),
}


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """Base of the files' tables."""


class MemoryPart(Part):
    """`[memory]`, bytes."""

    ram: int
    flash: int
    ram_reserved: int = 0
    flash_reserved: int = 0
    slots: int = 2


class RuntimePart(Part):
    """`[runtime]`; overheads in bytes."""

    name: EngineName
    version: str = ""
    ram_overhead: int = 0
    flash_overhead: int = 0


class NpuPart(Part):
    """`[npu]`, in the words of Vela."""

    accelerator: AcceleratorName
    system_config: SystemConfigName
    memory_mode: MemoryModeName


class OpCostPart(Part):
    """One operator of a device's cost table."""

    per_call_us: float = 0.0
    ns_per_mac: float = 0.0
    ns_per_byte: float = 0.0
    ns_per_output: float = 0.0
    ns_per_im2col_byte: float = 0.0
    ns_per_tail_mac: float = 0.0
    loops: dict[str, float] = {}


class TilePart(Part):
    """`tile` of a cost table."""

    rows: int
    columns: int
    depth: int
    lanes: int
    aligned: int = 1


class CostsPart(Part):
    """`[[costs]]` of a device, in time."""

    ops: dict[str, OpCostPart]
    engine: EngineName
    dtype: DTypeName
    tier: TierName
    evidence: str
    low_ratio: float
    high_ratio: float
    per_run_us: float = 0.0
    samples: int = 0
    heldout_median_ape: float | None = None
    interval: IntervalName = "leave-one-out"
    heldout_ratios: tuple[float, ...] = ()
    tile: TilePart | None = None


class CoreOpCostPart(Part):
    """One operator of a core's cost table, in the table's unit."""

    per_call: float = 0.0
    per_mac: float = 0.0
    per_byte: float = 0.0
    per_output: float = 0.0
    per_im2col_byte: float = 0.0
    per_tail_mac: float = 0.0


class CoreCostsPart(Part):
    """`[[costs]]` of a core: instructions or cycles, which a clock makes into time."""

    ops: dict[str, CoreOpCostPart]
    unit: CostUnit
    engine: EngineName
    dtype: DTypeName
    tier: TierName
    evidence: str
    low_ratio: float
    high_ratio: float
    per_run: float = 0.0
    samples: int = 0
    heldout_median_ape: float | None = None


class BudgetPart(Part):
    """`[budget]`: what the device leaves for a model."""

    latency_ms: float | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    energy_mj: float | None = None


class PowerPart(Part):
    """`[power]`: what the device draws while a model runs."""

    active_mw: tuple[float, float, float]
    evidence: str


class EvidencePart(Part):
    """`[[evidence]]`."""

    id: str
    tier: TierName
    source: str
    note: str = ""


class DeviceFile(Part, rename={"device_class": "class"}):
    """The whole profile of a device, with what it took from its core's file."""

    schema: Literal[1]
    id: str
    title: str
    device_class: DeviceClass
    core: str
    clock_hz: int
    memory: MemoryPart
    runtime: RuntimePart
    formats: tuple[Format, ...]
    extends: str | None = None
    ops: dict[str, tuple[OpDTypeName, ...]] = msgspec.field(default_factory=dict)
    costs: tuple[CostsPart, ...] = ()
    budget: BudgetPart = msgspec.field(default_factory=BudgetPart)
    evidence: tuple[EvidencePart, ...] = ()
    cycles_per_instruction: tuple[float, float, float] | None = None
    optional_formats: tuple[Format, ...] = ()
    npu: NpuPart | None = None
    power: PowerPart | None = None


class InstructionsFile(Part):
    """A file of `instructions/`: one table of loops, at one instruction a nanosecond."""

    schema: Literal[1]
    source: str
    costs: CostsPart


class CoreFile(Part):
    """What devices with one core share; what a device says itself wins."""

    schema: Literal[1]
    core: str
    runtime: RuntimePart | None = None
    formats: tuple[Format, ...] | None = None
    ops: dict[str, tuple[OpDTypeName, ...]] | None = None
    costs: tuple[CoreCostsPart, ...] = ()
    evidence: tuple[EvidencePart, ...] = ()
    cycles_per_instruction: tuple[float, float, float] | None = None


_TABLES: dict[str, type[Part]] = {
    "": DeviceFile,
    "memory": MemoryPart,
    "runtime": RuntimePart,
    "npu": NpuPart,
    "costs": CostsPart,
    "costs.ops": OpCostPart,
    "costs.tile": TilePart,
    "budget": BudgetPart,
    "power": PowerPart,
    "evidence": EvidencePart,
}


def explain(error: str) -> str:
    """msgspec's message with the path as a dotted key and the values that the key may have."""
    text, _, path = error.partition(" - at `$")
    key = re.sub(r"\[\.\.\.\]|\[\d+\]", "", path.rstrip("`").replace("key in ", "")).lstrip(".")
    if "unknown field" in text or "missing required field" in text:
        table = _TABLES.get(key)
        known = f"; it may have: {', '.join(_field_names(table))}" if table else ""
        return f"{text} in [{key or 'the top level'}]{known}"
    allowed = _ALLOWED.get(key) or _ALLOWED.get(key.rpartition(".")[2])
    return f"key '{key}': {text}" + (f"; allowed: {allowed}" if allowed else "")


def _field_names(table: type[Part]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(table))


def device_problem(device: DeviceFile, stem: str) -> str | None:
    """The first rule that the types cannot say and the profile breaks, or None."""
    rules = (*_identity_rules(device, stem), *_memory_rules(device.memory))
    broken = [*(text for holds, text in rules if not holds), *_npu_problems(device)]
    broken += _shared_problems(device.evidence, device.cycles_per_instruction)
    known = {item.id for item in device.evidence}
    broken += [text for costs in device.costs for text in _cost_problems(costs, known)]
    broken += _power_problems(device.power, known)
    return broken[0] if broken else None


def core_problem(core: CoreFile) -> str | None:
    """The first rule that the types cannot say and the file of a core breaks, or None."""
    known = {item.id for item in core.evidence}
    broken = _shared_problems(core.evidence, core.cycles_per_instruction)
    broken += [text for costs in core.costs for text in _core_cost_problems(costs, known)]
    return broken[0] if broken else None


def _identity_rules(device: DeviceFile, stem: str) -> tuple[tuple[object, str], ...]:
    engines = ENGINES[device.device_class]
    both = (*device.formats, *device.optional_formats)
    foreign = [fmt for fmt in both if fmt not in engines]
    return (
        (ID.fullmatch(device.id), f"key 'id': allowed: {ID_TEXT}"),
        (device.id == stem, f"key 'id': '{device.id}' must be the file's name, '{stem}'"),
        (
            device.clock_hz > 0 or (device.clock_hz == 0 and device.device_class == "host"),
            "key 'clock_hz': must be above 0 (0, unknown, is for class host alone)",
        ),
        (
            not 0 < device.clock_hz < SLOWEST_HZ,
            f"key 'clock_hz': {device.clock_hz} Hz is no clock; allowed: {_HZ}",
        ),
        (device.formats, f"key 'formats': empty; allowed: {_ALLOWED['formats']}"),
        (
            not foreign,
            f"key 'formats': no engine runs {', '.join(foreign)} on class "
            f"{device.device_class}; allowed: {', '.join(engines)}",
        ),
        (
            len(set(both)) == len(both),
            "key 'optional_formats': each format once, there or in 'formats'",
        ),
    )


def _memory_rules(memory: MemoryPart) -> tuple[tuple[object, str], ...]:
    small = [name for name in ("ram", "flash") if getattr(memory, name) < SMALLEST_BYTES]
    return (
        (memory.slots >= 1, "key 'memory.slots': must be 1 or more"),
        (
            not small,
            f"key 'memory.{', memory.'.join(small)}': under {SMALLEST_BYTES} bytes; "
            f"allowed: {_BYTES}",
        ),
        (
            0 <= memory.ram_reserved < memory.ram and 0 <= memory.flash_reserved < memory.flash,
            "table 'memory': the reserved bytes must be below ram and flash",
        ),
    )


def _npu_problems(device: DeviceFile) -> list[str]:
    if device.npu is None:
        return []
    if device.device_class != "npu":
        return [f"table 'npu': for class npu alone, and this is class {device.device_class}"]
    problem = npu_problem(device.npu.accelerator, device.npu.system_config)
    return [] if problem is None else [problem]


def _power_problems(power: PowerPart | None, known_evidence: set[str]) -> list[str]:
    if power is None:
        return []
    problems = []
    low, value, high = power.active_mw
    if not 0 < low <= value <= high < math.inf:
        problems.append("key 'power.active_mw': must be low <= value <= high, above 0")
    if power.evidence not in known_evidence:
        problems.append(f"key 'power.evidence': no [[evidence]] has the id '{power.evidence}'")
    return problems


def _shared_problems(
    evidence: Iterable[EvidencePart], cpi: tuple[float, float, float] | None
) -> list[str]:
    twice = [name for name, count in Counter(item.id for item in evidence).items() if count > 1]
    problems = [f"[[evidence]]: id '{name}' is there twice" for name in twice]
    if cpi is not None and not 0 < cpi[0] <= cpi[1] <= cpi[2] < math.inf:
        problems.append("key 'cycles_per_instruction': must be low <= value <= high, above 0")
    return problems


def _cost_problems(costs: CostsPart, known_evidence: set[str]) -> list[str]:
    place = f"costs '{costs.evidence}' ({costs.engine}, {costs.dtype})"
    problems = _table_problems(place, costs, known_evidence)
    if not 0 <= costs.per_run_us < math.inf:
        problems.append(f"{place}: per_run_us must be 0 or more, finite")
    ratios = costs.heldout_ratios
    if any(ratio <= 0 for ratio in ratios) or list(ratios) != sorted(ratios):
        problems.append(f"{place}: heldout_ratios must rise and be above 0")
    if costs.tile and min(msgspec.structs.astuple(costs.tile)) < 1:
        problems.append(f"{place}: every figure of tile must be 1 or more")
    for name, cost in costs.ops.items():
        *counts, loops = msgspec.structs.astuple(cost)
        figures = (*counts, *loops.values())
        problems += _figure_problems(place, name, figures)
    return problems


def _core_cost_problems(costs: CoreCostsPart, known_evidence: set[str]) -> list[str]:
    place = f"costs '{costs.evidence}' ({costs.engine}, {costs.dtype})"
    problems = _table_problems(place, costs, known_evidence)
    if not 0 <= costs.per_run < math.inf:
        problems.append(f"{place}: per_run must be 0 or more, finite")
    for name, cost in costs.ops.items():
        figures = msgspec.structs.astuple(cost)
        problems += _figure_problems(place, name, figures)
    return problems


def _table_problems(
    place: str, costs: CostsPart | CoreCostsPart, known_evidence: set[str]
) -> list[str]:
    problems = []
    if costs.evidence not in known_evidence:
        problems.append(f"{place}: no [[evidence]] of that id")
    if not 0 < costs.low_ratio <= 1 <= costs.high_ratio < math.inf:
        problems.append(f"{place}: needs 0 < low_ratio <= 1 <= high_ratio, finite")
    return problems


def _figure_problems(place: str, op: str, figures: Iterable[float]) -> list[str]:
    if all(0 <= figure < math.inf for figure in figures):
        return []
    return [f"{place}: operator '{op}' has a cost that is negative or not finite"]

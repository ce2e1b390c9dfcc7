"""`Target`: what a device is, as read from one TOML file of the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .evidence import Budget, Tier
from .npu import Npu


@dataclass(frozen=True, slots=True)
class Memory:
    """Sizes in bytes. `slots` model slots share the flash: A/B updates halve it."""

    ram: int
    flash: int
    ram_reserved: int = 0
    flash_reserved: int = 0
    slots: int = 2

    @property
    def ram_available_bytes(self) -> int:
        """RAM that a model may use."""
        return self.ram - self.ram_reserved

    @property
    def flash_available_bytes(self) -> int:
        """Flash that one model may use, with every slot reserved for its twin."""
        return (self.flash - self.flash_reserved) // self.slots


@dataclass(frozen=True, slots=True)
class Runtime:
    """The engine that runs the model there. Overheads are bytes beside arena and weights."""

    name: str  # litert | onnxruntime | tflm | c
    version: str = ""
    ram_overhead: int = 0
    flash_overhead: int = 0


@dataclass(frozen=True, slots=True)
class Power:
    """What the whole device draws in mW while a model runs: a range, and whose word it is."""

    low_mw: float
    value_mw: float
    high_mw: float
    evidence_id: str
    tier: Tier


@dataclass(frozen=True, slots=True)
class OpCost:
    """Time of one operator call, from the counts of `LayerWork`.

    `per_call_us + ns_per_mac·macs + ns_per_byte·bytes_moved + ns_per_output·output_elements
    + ns_per_im2col_byte·im2col_bytes + ns_per_tail_mac·tail_macs`. An output costs requantization
    and the set-up of its loops, which outweigh its multiplications in a small layer.

    A cost with `loops`, ns for one pass of each, prices the loops of the kernel and nothing else.
    """

    per_call_us: float
    ns_per_mac: float
    ns_per_byte: float
    ns_per_output: float = 0.0
    ns_per_im2col_byte: float = 0.0
    ns_per_tail_mac: float = 0.0
    loops: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tile:
    """What an engine's kernels compute at once on one device, as a calibration found it.

    A matrix product takes blocks of `rows` places by `columns` output channels and reads `depth`
    input channels a step; windows over single channels take `lanes` channels. Layers whose
    channels are multiples of `aligned` have a kernel of their own; 1: there is one kernel.
    """

    rows: int
    columns: int
    depth: int
    lanes: int
    aligned: int = 1


@dataclass(frozen=True, slots=True)
class CostTable:
    """A non-negative linear cost model per operator for one engine, with its held-out error.

    `engine` is one of `engines.ENGINE_NAMES`; no other engine may be priced with the table.
    `per_run_us` is paid once an inference. `low_ratio` and `high_ratio` bound actual/predicted of a
    new model at 10 % and 90 %, from models that the fit did not see: `conformal` says how.
    `interval` is `split` where those models were apart from the fit, `leave-one-out` where each
    was left out in turn, `family-out` where each family of them was; `heldout_ratios` are theirs in
    rising order. A table with a `tile` prices the parts of an engine's kernels, whose passes follow
    from it and a layer's shapes.
    """

    ops: Mapping[str, OpCost]
    engine: str
    dtype: str
    tier: Tier
    evidence_id: str
    low_ratio: float
    high_ratio: float
    per_run_us: float = 0.0
    samples: int = 0
    heldout_median_ape: float | None = None
    interval: str = "leave-one-out"
    heldout_ratios: tuple[float, ...] = ()
    tile: Tile | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a profile's numbers come from."""

    id: str
    tier: Tier
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A device profile. `digest` is the sha256 of the file it was read from.

    A compile makes `formats`, and those of `optional_formats` that it is asked for.
    """

    id: str
    title: str
    device_class: str  # host | linux | mcu | npu
    core: str
    clock_hz: int
    memory: Memory
    runtime: Runtime
    formats: tuple[str, ...]  # tflite | onnx | c, best first
    ops: Mapping[str, tuple[str, ...]]  # operator name -> dtypes it runs in
    costs: tuple[CostTable, ...] = ()
    budget: Budget = field(default_factory=Budget)  # what the device leaves for a model
    evidence: tuple[Evidence, ...] = ()
    cycles_per_instruction: tuple[float, float, float] | None = None  # low, value, high
    digest: str = ""
    optional_formats: tuple[str, ...] = ()
    npu: Npu | None = None
    power: Power | None = None

    @property
    def all_formats(self) -> tuple[str, ...]:
        """Every format that runs there."""
        return (*self.formats, *self.optional_formats)

"""What a model asks of a device, layer by layer: the seam between graphs and cost models.

The compiler produces a `Workload` from its graph; cost models read nothing else, so this room
never needs to know a graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Loops = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class LayerWork:
    """One operator's work: `op` is the graph's operator name, counts are for one inference.

    `loops` are the loops of the kernel that computes the layer and how often each is passed, where
    that kernel is our own; then nothing else decides how many instructions the layer takes. Of an
    engine's kernels they are what its shapes suggest, for tables that were fitted to them.
    """

    name: str = field(compare=False)  # of two layers that do the same the names may differ
    op: str
    macs: int
    bytes_moved: int  # input + output + weight bytes touched once
    output_elements: int
    im2col_bytes: int = 0  # of all windows unrolled: what a matrix product reads
    tail_macs: int = 0  # what the MACs grow by when channels are rounded up to multiples of 4
    loops: Loops = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """All layers in execution order; `dtype` is `int8` or `float32`."""

    layers: tuple[LayerWork, ...]
    dtype: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

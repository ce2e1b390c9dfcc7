"""`Layer`: a kernel call of generated C, with its parameters and constant arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import Array, Graph
from .int_kernels.common import params

Fields = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """An array of the weights file; `c_type` is the element type."""

    name: str
    c_type: str
    literals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One call `kernel(&params, operands…, output[, scratch][, memory])`; `header` declares it."""

    symbol: str
    header: str
    kernel: str
    params_type: str
    params: str
    constants: tuple[Constant, ...]
    operands: tuple[Constant | str, ...]  # names of activations, or arrays of the weights file
    listed: bool  # operands go as one array of pointers
    output: str
    scratch_bytes: int  # 0: the kernel takes none
    state_bytes: int  # of int16 that live on between invocations; 0: the kernel takes none
    remark: str  # shapes and source, for the reader

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the activations it reads."""
        return tuple(operand for operand in self.operands if isinstance(operand, str))


def constant(name: str, data: Array) -> Constant:
    """An array of integers; uint32 words are written in hexadecimal."""
    flat = data.reshape(-1)
    if flat.dtype == np.uint32:
        literals = tuple(f"0x{number:08x}" for number in flat.tolist())
    elif flat.dtype == np.int64:
        literals = tuple(f"INT64_C({number})" for number in flat.tolist())
    else:
        literals = tuple(map(str, flat.tolist()))
    return Constant(name, f"{flat.dtype.name}_t", literals)


def zero_point(graph: Graph, name: str) -> int:
    """The zero point of the value `name`."""
    return params(graph, name).zero_point[0]

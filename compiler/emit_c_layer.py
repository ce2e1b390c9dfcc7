"""`Layer`: a kernel call of generated C, with its parameters and constant arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import Array, Graph
from .int_kernels.common import params
from .strips import CutChain

Fields = tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """An array of the weights file; `c_type` is the element type."""

    name: str
    c_type: str
    literals: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in flash."""
        return len(self.literals) * c_bytes(self.c_type)


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
    as_bytes: bool  # operands and output go as bytes, whatever they hold
    output: str
    scratch_bytes: int  # 0: the kernel takes none
    remark: str  # shapes and source, for the reader
    parts: tuple[Layer, ...] = ()  # layers that run together; the kernel is made for them
    chain: CutChain | None = None  # what those are a run of
    definition: str = ""  # of that kernel, in place of parameters
    state_bytes: int = 0  # of int16 that live on between invocations; 0: the kernel takes none

    @property
    def headers(self) -> frozenset[str]:
        """Headers of all kernels that it calls."""
        return frozenset((self.header, *(part.header for part in self.parts)))

    @property
    def kernels(self) -> frozenset[str]:
        """Kernels that it calls, by their files."""
        return frozenset(call.kernel for call in self.parts or (self,))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the activations it reads."""
        return tuple(operand for operand in self.operands if isinstance(operand, str))


def c_bytes(c_type: str) -> int:
    """Bytes of an element of a C type that constants have: intN_t, uintN_t, float or double."""
    floats = {"float": 4, "double": 8}
    return floats.get(c_type) or np.dtype(c_type.removesuffix("_t")).itemsize


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

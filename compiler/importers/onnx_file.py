"""Reads an ONNX file into plain records, bounds first.

Sizes are limited before anything is parsed or allocated, weights in other files are taken only
from the model's own folder, and `onnx.checker` has seen the model before any of it is believed:
names are defined once and before they are read, so there are no cycles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImportModelError
from ..graph import Array
from ..shapes import Shape

if TYPE_CHECKING:
    import onnx

LARGEST_FILE = 1 << 30  # bytes, of the model and of all its weights
MOST_NODES = 100_000
MOST_ELEMENTS = 1 << 26  # of an input; real ones have millions at most
MOST_RANK = 8
_OLDEST_OPSET = 7
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node as the file has it; "" among `inputs` and `outputs` is one left out."""

    index: int
    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    version: int  # the opset in which the operator's present meaning came up; 0: unknown
    proto: Any = None  # the NodeProto, for folding


@dataclass(frozen=True, slots=True)
class OnnxInput:
    """An input; its first axis is 1 where the file leaves it free."""

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A checked model: nodes in execution order, constants by name."""

    opset: int
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Array]
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]


def read_onnx(data: bytes, source: str, folder: Path | None, bound: frozenset[str]) -> OnnxModel:
    """The records of a file's bytes. `folder` may hold its weights; `source` names it in errors.

    Inputs in `bound` are not looked at. Raises ImportModelError where the bytes are no ONNX model,
    an inconsistent or unreasonably large one, or one whose weights are missing.
    """
    model = _parse(data, source)
    _refuse_unusual(model, source)
    taken = sum(_take_in(tensor, folder, source) for tensor in model.graph.initializer)
    if taken > LARGEST_FILE:
        raise ImportModelError(f"{source}: {taken} bytes of weights; up to 1 GiB are supported")
    _check(model, source)
    constants = {tensor.name: as_array(tensor, source) for tensor in model.graph.initializer}
    opset = _opset(model, source)
    inputs = tuple(
        _input(value, source)
        for value in model.graph.input
        if value.name not in constants and value.name not in bound
    )
    nodes = tuple(_node(node, index, opset) for index, node in enumerate(model.graph.node))
    outputs = tuple(value.name for value in model.graph.output)
    return OnnxModel(opset, nodes, constants, inputs, outputs)


def as_array(tensor: onnx.TensorProto, source: str) -> Array:
    """A tensor of the file as numpy has it; its size is held against its bytes first."""
    from onnx import numpy_helper

    if any(size < 0 for size in tensor.dims) or len(tensor.dims) > MOST_RANK:
        raise ImportModelError(f"{source}: constant '{tensor.name}' has shape {list(tensor.dims)}")
    if math.prod(tensor.dims) > LARGEST_FILE:
        raise ImportModelError(f"{source}: constant '{tensor.name}' is unreasonably large")
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # whatever numpy meets in damaged data
        raise ImportModelError(
            f"{source}: constant '{tensor.name}' is damaged ({one_line(error)})"
        ) from error


def one_line(error: BaseException) -> str:
    """The first line of an error's text, not too long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:_LONGEST_REASON]


def _parse(data: bytes, source: str) -> onnx.ModelProto:
    try:
        import onnx
    except ImportError as error:
        raise ImportModelError(
            f"{source}: it needs onnx; install it with: pip install 'edgekiln[onnx]'"
        ) from error
    if len(data) > LARGEST_FILE:
        raise ImportModelError(f"{source}: {len(data)} bytes; models up to 1 GiB are supported")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own, by backend
        raise ImportModelError(f"{source}: not an ONNX file, or damaged") from error
    if not model.graph.node or len(model.graph.node) > MOST_NODES:
        raise ImportModelError(
            f"{source}: {len(model.graph.node)} nodes; an ONNX model has 1 to {MOST_NODES}"
        )
    return model


def _refuse_unusual(model: onnx.ModelProto, source: str) -> None:
    if model.functions:
        raise ImportModelError(
            f"{source}: it defines functions of its own; inline them first "
            "(onnx.inliner.inline_local_functions)"
        )
    if model.graph.sparse_initializer:
        raise ImportModelError(f"{source}: its weights are sparse; store them dense")


def _take_in(tensor: onnx.TensorProto, folder: Path | None, source: str) -> int:
    """Replace a reference to bytes in another file by the bytes; how many those are."""
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return 0
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where = f"{source}: the weights of '{tensor.name}'"
    path = _confined(entries.get("location", ""), folder, where)
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", path.stat().st_size - offset))
        if min(offset, length) < 0 or offset + length > path.stat().st_size:
            raise ImportModelError(f"{where} lie outside of {path.name}; it is cut off")
        if length > LARGEST_FILE:
            raise ImportModelError(f"{where} have {length} bytes; up to 1 GiB are supported")
        with path.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
    except ValueError as error:
        raise ImportModelError(f"{where}: damaged offsets into {path.name}") from error
    except OSError as error:
        raise ImportModelError(f"{where}: cannot read {path.name}: {error.strerror}") from error
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT
    return length


def _confined(location: str, folder: Path | None, where: str) -> Path:
    """The file beside the model that `location` names, and no other file of this machine."""
    if folder is None:
        raise ImportModelError(f"{where} are in another file; give the path of the model instead")
    path = (folder / location).resolve()
    if not location or Path(location).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise ImportModelError(f"{where} are outside of the model's folder; keep them beside it")
    if not path.is_file():
        raise ImportModelError(f"{where} should be in {location}, which is not there")
    return path


def _check(model: onnx.ModelProto, source: str) -> None:
    import onnx

    try:
        onnx.checker.check_model(model)
    except Exception as error:  # its ValidationError is no Exception of one common kind
        reason = one_line(error)
        raise ImportModelError(f"{source}: an inconsistent ONNX model ({reason})") from error


def _opset(model: onnx.ModelProto, source: str) -> int:
    """The version of the standard operators."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        return 0
    if versions[0] < _OLDEST_OPSET:
        raise ImportModelError(
            f"{source}: opset {versions[0]} is too old; convert it to 13 or above "
            "with onnx.version_converter"
        )
    return int(versions[0])


def _input(value: onnx.ValueInfoProto, source: str) -> OnnxInput:
    import onnx

    if value.type.WhichOneof("value") != "tensor_type":
        raise ImportModelError(f"{source}: input '{value.name}' is no tensor")
    declared = value.type.tensor_type
    if not declared.HasField("shape"):
        raise ImportModelError(f"{source}: input '{value.name}' has no shape; declare one")
    shape = tuple(
        _size(dim, axis, value.name, source) for axis, dim in enumerate(declared.shape.dim)
    )
    if len(shape) > MOST_RANK or math.prod(shape) > MOST_ELEMENTS:
        raise ImportModelError(
            f"{source}: input '{value.name}' has shape {shape[:MOST_RANK]}; at most "
            f"{MOST_ELEMENTS} elements and {MOST_RANK} axes are supported"
        )
    names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    dtype = names.get(declared.elem_type, f"type {declared.elem_type}")
    return OnnxInput(value.name, shape, dtype)


def _size(dim: Any, axis: int, name: str, source: str) -> int:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return int(dim.dim_value)
    if axis == 0 and not dim.HasField("dim_value"):
        return 1  # a free batch axis
    if dim.HasField("dim_value"):
        raise ImportModelError(f"{source}: input '{name}' is empty: axis {axis} is {dim.dim_value}")
    raise ImportModelError(
        f"{source}: axis {axis} of input '{name}' is free ({dim.dim_param or '?'}); "
        "fix its size when you export, or with onnxruntime.tools.make_dynamic_shape_fixed"
    )


def _node(node: onnx.NodeProto, index: int, opset: int) -> OnnxNode:
    from onnx import defs, helper

    version = 0
    op = node.op_type
    if node.domain in ("", "ai.onnx"):
        try:
            version = int(defs.get_schema(op, opset, "").since_version)
        except defs.SchemaError:
            version = 0
    else:
        op = f"{node.domain}.{op}"
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return OnnxNode(
        index, op, node.name, tuple(node.input), tuple(node.output), attributes, version, node
    )

"""torch.export programs: NCHW in, NHWC out, not one transpose.

Images become (1, height, width, channels). A flattened image is in another element order than
torch's; a `Wire` remembers that until the linear layer, whose columns are permuted.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..builder import GraphBuilder
from ..errors import ImportModelError, UnsupportedOpError
from ..graph import Array, Graph
from ..shapes import Shape, elements

if TYPE_CHECKING:
    import torch

WAYS_OUT = (
    "use Conv2d, Linear, BatchNorm, ReLU, ReLU6, max, average or global average pooling, "
    "addition, padding or flatten instead, or move it out of the model"
)


def import_torch(program: torch.export.ExportedProgram, name: str) -> Graph:
    """A float32 graph of an exported module in eval mode: one input, one output of logits.

    The input is (n, channels, height, width) or (n, features); n becomes 1. A softmax at the very
    end is left out: graphs give logits. Raises UnsupportedOpError or ImportModelError.
    """
    from .torch_ops import HANDLERS, refuse_training_mode

    reader = ProgramReader(program, name)
    refuse_training_mode(reader, program)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            reader.open(node)
        elif node.op == "call_function" and _gives_tensors(node):
            handler = HANDLERS.get(str(node.target))
            if handler is None:
                raise unsupported(reader, node, f"operator '{node.target}'")
            handler(reader, node)
    return reader.finish()


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Read a `.pt2` file; one line where it cannot be read."""
    import torch

    if not zipfile.is_zipfile(path):
        raise ImportModelError(f"{path}: not a torch.export file, or damaged; export it again")
    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises whatever its unpickler, zip or JSON reader meets
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise ImportModelError(
            f"{path}: torch {torch.__version__} cannot read it ({reason[0]}); export it again"
        ) from error


@dataclass(frozen=True, slots=True)
class Wire:
    """A torch tensor in the graph. `flattened` (c, h, w): its elements still lie as h, w, c."""

    value: str
    shape: Shape
    flattened: Shape | None = None


class ProgramReader:
    """What the operator handlers read from and write to."""

    def __init__(self, program: torch.export.ExportedProgram, name: str) -> None:
        signature = program.graph_signature
        inputs = tuple(signature.user_inputs)
        outputs = tuple(signature.user_outputs)
        if len(inputs) != 1 or len(outputs) != 1:
            raise ImportModelError(
                f"{name}: a model has one input and one output, this one has {len(inputs)} and "
                f"{len(outputs)}; wrap it in a module that has"
            )
        self.name = name
        self.output = str(outputs[0])
        self._input = str(inputs[0])
        self._tensors = _lifted_tensors(program)
        self.wires: dict[str, Wire] = {}
        self.constants: dict[str, Array] = {}
        self._builder: GraphBuilder | None = None

    @property
    def build(self) -> GraphBuilder:
        """The builder; there from the input's placeholder on."""
        assert self._builder is not None
        return self._builder

    def open(self, node: torch.fx.Node) -> None:
        """Take in a placeholder: the input, a weight or a buffer."""
        if node.name != self._input:
            if node.name in self._tensors:
                self.constants[node.name] = self._tensors[node.name]
            return
        shape = torch_shape(node)
        if len(shape) not in (2, 4):
            raise ImportModelError(
                f"{self.name}: the input must be (n, channels, height, width) or (n, features), "
                f"not {tuple(shape)}"
            )
        image = (1, shape[2], shape[3], shape[1]) if len(shape) == 4 else shape
        self._builder = GraphBuilder(self.name, image)
        self.wires[node.name] = Wire(self._builder.input, shape)

    def wire(self, argument: Any, node: torch.fx.Node) -> Wire:
        """The wire of an activation operand of `node`."""
        found = self.wires.get(getattr(argument, "name", ""))
        if found is None:
            raise unsupported(self, node, f"'{node.target}' of a constant")
        return found

    def image(self, argument: Any, node: torch.fx.Node) -> str:
        """The NHWC value of an operand that torch sees as (n, c, h, w)."""
        wire = self.wire(argument, node)
        if len(wire.shape) != 4:
            raise unsupported(self, node, f"'{node.target}' of a tensor {wire.shape}")
        _, channels, height, width = wire.shape
        if len(self.build.shape(wire.value)) == 2:  # a global mean dropped the 1×1
            return self.build.reshape(wire.value, (1, height, width, channels), place(node))
        return wire.value

    def constant(self, argument: Any, node: torch.fx.Node) -> Array | None:
        """The array of a weight operand; None stays None."""
        if argument is None:
            return None
        name = getattr(argument, "name", "")
        if name not in self.constants:
            raise unsupported(self, node, f"'{node.target}' with computed weights")
        return self.constants[name]

    def put(self, node: torch.fx.Node, value: str, flattened: Shape | None = None) -> None:
        """Bind `node` to a value, and hold its shape against torch's."""
        shape = torch_shape(node)
        if elements(self.build.shape(value)) != elements(shape):
            raise unsupported(self, node, f"'{node.target}' to shape {shape}")
        self.wires[node.name] = Wire(value, shape, flattened)

    def finish(self) -> Graph:
        """The graph."""
        wire = self.wires.get(self.output)
        if wire is None or wire.flattened or len(self.build.shape(wire.value)) != 2:
            raise ImportModelError(
                f"{self.name}: the output must be logits (n, classes); end the model in a Linear"
            )
        return self.build.finish(wire.value)


def unsupported(reader: ProgramReader, node: torch.fx.Node, what: str) -> UnsupportedOpError:
    """The error for something the graph has no word for."""
    return UnsupportedOpError(f"{reader.name}: {what} at '{place(node)}' is unknown; {WAYS_OUT}")


def place(node: torch.fx.Node) -> str:
    """The module path where `node` comes from, or its name at the top level."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = str(stack[-1][0]).removeprefix("L['self'].").removeprefix("L['self']") if stack else ""
    return path or node.name


def torch_shape(node: torch.fx.Node) -> Shape:
    """Shape with a batch of 1."""
    tensor = node.meta["val"]
    return (1, *(int(size) for size in tensor.shape[1:]))


def _gives_tensors(node: torch.fx.Node) -> bool:
    """Sizes and assertions about a free batch axis give none."""
    value = node.meta.get("val")
    return hasattr(value, "shape") or isinstance(value, tuple | list)


def _lifted_tensors(program: torch.export.ExportedProgram) -> dict[str, Array]:
    """Weights, buffers and constants by the name of their placeholder."""
    signature = program.graph_signature
    targets = (
        dict(signature.inputs_to_parameters)
        | dict(signature.inputs_to_buffers)
        | dict(signature.inputs_to_lifted_tensor_constants)
    )
    tensors: dict[str, Array] = {}
    for placeholder, target in targets.items():
        tensor = program.state_dict.get(target, program.constants.get(target))
        if tensor is not None:
            tensors[placeholder] = np.asarray(tensor.detach().cpu().numpy())
    return tensors

"""torch.export programs: NCHW in, NHWC out, no transpose where the layout can follow.

Both dialects are read: the training IR of `torch.export.export`, and core ATen after
`run_decompositions`. Operators are in `torch_ops`, the layout in `layout`.
"""

from __future__ import annotations

import dataclasses
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImportModelError
from ..graph import Graph
from ..ops import Op
from .layout import Imported, NoWordError, Plan, Source, solve
from .torch_program import (
    ProgramReader,
    UnknownOperatorError,
    input_of,
    refuse_integers,
    refuse_training_mode,
)
from .torch_sharing import writes_through_views

if TYPE_CHECKING:
    import torch

_INPUT_RANKS = (2, 3, 4)


def import_torch(program: torch.export.ExportedProgram, name: str) -> Graph:
    """A float32 graph of an exported module in eval mode: one input, one output of logits.

    The input is (n, channels, height, width), (n, features), or (n, a, b) for sequences; n becomes
    1. An image lies in the graph as (1, height, width, channels); a sequence in the order in which
    the model reads it: (1, length, channels) before a convolution, (1, steps, features) before a
    recurrent or linear layer. A softmax at the very end is left out: graphs give logits. Raises
    UnsupportedOpError or ImportModelError.
    """
    return import_logits(program, name).graph


def import_logits(program: torch.export.ExportedProgram, name: str) -> Imported:
    """As `import_torch`, and how both ends lie in the graph."""
    imported = import_program(program, name)
    (port,) = imported.inputs
    if not port.samples and not imported.outputs[0].samples:
        raise ImportModelError(
            f"{name}: the model mixes the {port.shape[0]} samples that it was exported for; "
            "export it with a batch of 1, or with a free batch axis"
        )
    if len(imported.outputs[0].shape) != 2 or not imported.outputs[0].samples:
        raise ImportModelError(
            f"{name}: the output must be logits (n, classes); end the model in a Linear"
        )
    return imported


def import_program(program: torch.export.ExportedProgram, name: str) -> Imported:
    """As `import_logits`, with an output of any shape."""
    refuse_training_mode(program, name)
    if writes_through_views(program):
        program = _decomposed(program, functional_only=True)
    imported = _read_whole_or_in_parts(program, name)
    refuse_integers(program, name)
    return imported


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


def _read_whole_or_in_parts(program: torch.export.ExportedProgram, name: str) -> Imported:
    """Operators made of others, such as einsum, may be known in parts only."""
    try:
        return _read(program, name)
    except UnknownOperatorError as first:
        try:
            return _read(_decomposed(program, functional_only=False), name)
        except ImportModelError:
            raise first from None


def _read(program: torch.export.ExportedProgram, name: str) -> Imported:
    source = input_of(program, name)
    if len(source.shape) not in _INPUT_RANKS:
        raise ImportModelError(
            f"{name}: the input must be (n, channels, height, width), (n, features) or a sequence "
            f"(n, a, b), not {source.shape}"
        )

    found = _attempt(program, name, source, settled=len(source.shape) == 4)
    if len(source.shape) != 3 or not _transposes(found):
        return found
    # The layout asks for an input in another order only where it reads the input itself.
    return min(found, _attempt(program, name, source, settled=True), key=_transposes)


def _attempt(
    program: torch.export.ExportedProgram, name: str, source: Source, *, settled: bool
) -> Imported:
    """The graph; with `settled` the input has its channels last, whatever reads it first."""
    order = (2, 3, 1) if len(source.shape) == 4 else (2, 1)

    def write(plan: Plan) -> Imported:
        if settled and not plan.lifted and not plan.settles(source.name):
            plan = dataclasses.replace(plan, orders=(*plan.orders, (source.name, order)))
        return ProgramReader(program, name, source, plan).read()

    try:
        return solve(write)
    except NoWordError as error:
        raise ImportModelError(f"{name}: {error}; keep samples apart from each other") from error


def _transposes(imported: Imported) -> int:
    return sum(node.op is Op.TRANSPOSE for node in imported.graph.nodes)


def _decomposed(
    program: torch.export.ExportedProgram, *, functional_only: bool
) -> torch.export.ExportedProgram:
    """The same program without writes in place, and in core ATen unless `functional_only`."""
    with warnings.catch_warnings():  # torch warns of its own internals
        warnings.simplefilter("ignore")
        decomposed: torch.export.ExportedProgram = program.run_decompositions(
            {} if functional_only else None
        )
    return decomposed

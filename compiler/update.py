"""An update to a release: asked for in a request, told in a report and its notes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.delta_plan import make_delta

from .accuracy import reference_accuracy
from .errors import CompileError
from .graph import Graph
from .near import Near, changed_share, stay_near
from .near_base import Base, read_base
from .quantize import Quantized
from .recipe import ActivationFormat, Recipe
from .request import CompiledModel, CompileRequest, UpdateReport

Floats = npt.NDArray[np.float32]


def open_base(request: CompileRequest) -> Base | None:
    """The base of the update that was asked for; None where none was.

    Raises:
        BundleError: the base cannot be trusted or read.
        CompileError: it has no artifact to stay near to, or the budget is no number of points.
    """
    if request.update is None:
        return None
    if not 0.0 <= request.update.budget_pt <= 100.0:
        raise CompileError(
            f"a budget of {request.update.budget_pt:g} points is not within 0 to 100"
        )
    return read_base(request.update.base)


def near_base(
    done: Quantized,
    base: Base | None,
    request: CompileRequest,
    recipe: Recipe,
    calibration: Floats,
    validation: Floats,
) -> Near | None:
    """`done` near the base, where that was asked for and can be had."""
    if base is None or request.update is None or recipe.activations is ActivationFormat.FLOAT32:
        return None
    labels = request.dataset.y[request.dataset.validation]

    def score(graph: Graph) -> float:
        return reference_accuracy(graph, validation, labels)

    budget = request.update.budget_pt / 100.0
    return stay_near(done, base, calibration, recipe, score, budget)


def near_text(near: Near) -> str:
    """How near the base a model stays, for whoever waits."""
    low, high = (math.log2(price) for price in (min(near.prices), max(near.prices)))
    return f"a bit of the update is worth 2^{low:.1f} to 2^{high:.1f} of its layer's output"


def report_update(base: Base | None, model: CompiledModel, data: bytes) -> UpdateReport | None:
    """What the update from `base` to the bundle `data` costs; None without a base."""
    if base is None:
        return None
    near = model.near
    return UpdateReport(
        base=base.bundle_id,
        full_bytes=len(data),
        delta_bytes=len(make_delta(base.data, data)),
        near=near is not None,
        changed=changed_share(model.graph, base),
        accuracy_alone=model.accuracy if near is None else near.accuracy_alone,
        accuracy=model.accuracy,
    )


def update_notes(report: UpdateReport | None) -> tuple[str, ...]:
    """The report in a sentence."""
    if report is None:
        return ()
    size = (
        f"update from {report.base[:12]}: {report.delta_bytes:,} of {report.full_bytes:,} bytes "
        f"({report.delta_bytes / report.full_bytes:.1%}), {report.changed:.1%} of the weights "
        "change"
    )
    if report.near:
        alone = (
            f"; validation accuracy {report.accuracy:.4f}, by itself {report.accuracy_alone:.4f}"
        )
        return (size + alone,)
    return (f"{size}; nothing nearer keeps the accuracy, so the model was quantized by itself",)

"""`onboard`: the profile of a new device from the times of a few model files on it.

Files are read twice: as they are written, and simplified as engines do it when they load a model
(constants computed, batch norms folded, results that nothing uses dropped). Which of the two the
device's engine executes shows in its times.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fewshot import FewShot
from edgekiln.targets.fewshot_table import few_shot_table
from edgekiln.targets.target import Evidence, Target

from .graph import Graph
from .importers import import_model
from .numerics import is_quantized
from .passes import optimize
from .passes.cleanup import clean_up
from .workload import workload

EVIDENCE_ID = "measured-models"
_FORMATS = {".tflite": "tflite", ".onnx": "onnx"}


@dataclass(frozen=True, slots=True)
class TimedModel:
    """A model file and what one inference took on the device, in ms."""

    model: Path
    ms: float


@dataclass(frozen=True, slots=True)
class Onboarded:
    """The new profile, and the fit behind its cost table."""

    target: Target
    fit: FewShot


class _Row(msgspec.Struct):
    model: str
    ms: float


def read_times(path: Path) -> tuple[TimedModel, ...]:
    """The rows `model,ms` of a CSV file with that header, or of a JSON list of such objects.

    Model paths are taken from the folder of the file. Raises MeasurementError for a file or a row
    that cannot be read; says which.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MeasurementError(f"{path}: cannot be read: {error}") from error
    try:
        if path.suffix.lower() == ".json":
            rows = msgspec.json.decode(text, type=list[_Row])
        else:
            rows = msgspec.convert(
                list(csv.DictReader(text.splitlines())), list[_Row], strict=False
            )
    except msgspec.MsgspecError as error:
        msg = f"{path}: {error}; each row has a model file and its milliseconds: model,ms"
        raise MeasurementError(msg) from error
    for number, row in enumerate(rows, 1):
        if not (math.isfinite(row.ms) and row.ms > 0):
            raise MeasurementError(f"{path}: row {number}: {row.ms} ms; a time must be above 0")
    return tuple(TimedModel(path.parent / row.model, row.ms) for row in rows)


def onboard(timed: Sequence[TimedModel], like: Target, target_id: str) -> Onboarded:
    """A profile `target_id` of the class of `like`, priced by the times of its own models.

    Memory, operators and budget are those of `like`; its cost tables are left behind.

    Raises:
        MeasurementError: models of several formats or dtypes, too few of them, or a bad time.
        ImportModelError, UnsupportedOpError: a model that cannot be read.
    """
    suffixes = {item.model.suffix.lower() for item in timed}
    if len(suffixes) != 1 or not suffixes <= set(_FORMATS):
        found = ", ".join(sorted(suffixes)) or "none"
        raise MeasurementError(f"models of one format make a table (.tflite or .onnx): {found}")
    fmt = _FORMATS[suffixes.pop()]
    graphs = [import_model(item.model) for item in timed]
    readings = {
        "as written": [workload(graph) for graph in graphs],
        "simplified": [workload(_simplified(graph)) for graph in graphs],
    }
    ops = {layer.op for works in readings.values() for work in works for layer in work.layers}
    table, fit = few_shot_table(
        *(readings, [item.ms for item in timed]),
        ops={*like.ops, *ops},
        engine=engine_of(like, fmt),
        evidence_id=EVIDENCE_ID,
    )
    source = (
        f"{len(timed)} .{fmt} models timed on the device; executed {fit.best.rule}, held-out error "
        f"{fit.best.heldout_ape:.0%}; edgekiln targets fewshot --like {like.id}"
    )
    evidence = Evidence(EVIDENCE_ID, Tier.T4, source)
    title = f"{target_id}, by {len(timed)} models timed on it ({like.id} class)"
    target = dataclasses.replace(
        like, id=target_id, title=title, costs=(table,), evidence=(*like.evidence, evidence)
    )
    return Onboarded(target, fit)


def _simplified(graph: Graph) -> Graph:
    return clean_up(graph) if is_quantized(graph) else optimize(graph)

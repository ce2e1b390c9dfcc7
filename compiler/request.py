"""`CompileRequest` and `CompileResult`: what goes into a compile and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekiln.runtime.bundle import Bundle, write_bundle
from edgekiln.runtime.manifest import Lineage, Manifest
from edgekiln.targets.evidence import Budget, Estimate, Footprint
from edgekiln.targets.target import Target

from .accuracy import EngineAccuracy
from .c_report import CFigures
from .calibration_file import Calibration
from .data import Dataset
from .distil import DistilSettings, Score
from .gate import AccuracyLimits
from .graph import Graph
from .near import Near
from .parity import Certificate
from .quantize import Quantized
from .recipe import DEFAULT_RECIPE, Recipe


@dataclass(frozen=True)
class TargetRequest:
    """One device class to compile for. Empty `formats`: all of the target's but the optional ones;
    only the best of these must keep the budget then, others that miss it are left out and told.

    `target` carries the cost table that latency is estimated from; a host has one only after
    `probes.calibrate`. A limit in `budget` counts instead of the target's own.
    """

    target: Target
    formats: tuple[str, ...] = ()
    budget: Budget | None = None


@dataclass(frozen=True)
class UpdateRequest:
    """Stay near the release in the file `base`, for a small delta; the accuracy on the validation
    split may fall by `budget_pt` percentage points against the model quantized by itself."""

    base: Path
    budget_pt: float = 0.0


@dataclass(frozen=True)
class CompileRequest:
    """A model, its data, and the devices it is for.

    `model` is the path of a model file, a `Graph`, or a fitted scikit-learn estimator; only a
    `.pt2` can be distilled from `teacher`, another `.pt2`. `calibration` sets the ranges instead of
    the training split. `force_reason` lets a bundle out that the gate refuses, and stays in its
    manifest.
    """

    name: str
    model: object
    dataset: Dataset
    targets: tuple[TargetRequest, ...]
    teacher: Path | None = None
    seed: int = 0
    lineage: Lineage | None = None
    limits: AccuracyLimits = field(default_factory=AccuracyLimits)
    distillation: DistilSettings = field(default_factory=DistilSettings)
    force_reason: str = ""
    recipe: Recipe = DEFAULT_RECIPE
    calibration: Calibration | None = None
    update: UpdateRequest | None = None


@dataclass(frozen=True)
class ArtifactReport:
    """One artifact: the manifest's estimates, and what was measured just now where it runs here.

    `measured` (T3) differs from run to run, so it is reported and never part of the bundle.
    `figures` are those of generated C, other formats have none.
    """

    target: str
    format: str
    bytes: int
    footprint: Footprint
    measured: Estimate | None
    figures: CFigures | None = None


@dataclass(frozen=True)
class DistilReport:
    """Validation scores; `improved` says whether the fine-tuned weights were kept."""

    before: Score
    after: Score
    teacher: Score
    improved: bool


@dataclass(frozen=True)
class CompiledModel:
    """The graph that is emitted, and its share of right answers on the validation split.

    `float_graph` is what was imported and optimized, `quantized` tells how it became `graph`; both
    and the float accuracy are None where the model came quantized. `near` where it stays near a
    base.
    """

    graph: Graph
    float_graph: Graph | None
    quantized: Quantized | None
    accuracy_float: float | None
    accuracy: float
    near: Near | None = None


@dataclass(frozen=True)
class UpdateReport:
    """What the update to a release costs a device that holds the base: bytes of the whole bundle
    and of the exact delta. `changed` is the share of int8 weights with other codes; `near` is False
    where no update near the base keeps the accuracy, and the model was quantized by itself."""

    base: str  # bundle id
    full_bytes: int
    delta_bytes: int
    near: bool
    changed: float
    accuracy_alone: float
    accuracy: float


@dataclass(frozen=True)
class CompileResult:
    """A finished bundle, not yet a file: `manifest` has its members listed.

    `data` are the bytes of the `.ekb` file: equal requests on one machine give equal bytes.
    `notes` are sentences for a person: what could not be checked and why, and what the calibration
    data lacks.
    """

    data: bytes
    manifest: Manifest
    members: Mapping[str, bytes]
    certificate: Certificate
    artifacts: tuple[ArtifactReport, ...]
    distillation: DistilReport | None
    model: CompiledModel
    accuracies: tuple[EngineAccuracy, ...]  # of each format in its own engine
    notes: tuple[str, ...]
    update: UpdateReport | None = None

    @property
    def bundle_id(self) -> str:
        """Hex sha256 of the manifest."""
        return self.manifest.bundle_id

    def write(self, path: Path) -> Bundle:
        """The bundle as a file, written whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        return write_bundle(path, self.manifest, self.members)

"""`edgekiln targets measure` for a host: one inference on this machine, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import print_json
from .timings import print_timing, require_certified

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgekiln.runtime.manifest import EstimateRecord
    from edgekiln.targets import Target
    from edgekiln.targets.harness import Timing

SUFFIXES = {".tflite": "tflite", ".onnx": "onnx"}


@dataclass(frozen=True, slots=True)
class HostTiming:
    """One artifact on this machine; `latency` is None where it could not be certified."""

    model: str
    target: str
    format: str
    engine: str
    latency: EstimateRecord | None
    timing: Timing


def time_on_host(model: Path, target: Target, budget_s: float, *, as_json: bool) -> None:
    """Time each format of a bundle, or a bare .tflite or .onnx file, in its engine.

    Raises:
        CheckFailedError: the machine was too busy for one of them.
    """
    found = [
        _timed(model, target, fmt, data, sample, budget_s)
        for fmt, data, sample in _artifacts(model, target)
    ]
    if as_json:
        print_json({"measured": found})
    else:
        for item in found:
            print_timing(f"{item.format} in {item.engine}", item.timing, "T3")
    for item in found:
        require_certified(f"{model}: {item.format} in {item.engine}", item.timing)


def _timed(
    model: Path,
    target: Target,
    fmt: str,
    data: bytes,
    sample: npt.NDArray[np.float32],
    budget_s: float,
) -> HostTiming:
    from edgekiln.compiler.oracles import RUNTIME_CALLS
    from edgekiln.runtime.manifest import EstimateRecord
    from edgekiln.targets import Tier, engine_of
    from edgekiln.targets.harness import time_callable
    from edgekiln.targets.steadiness import Rules

    timing = time_callable(RUNTIME_CALLS[fmt](data, sample), Rules(budget_s=budget_s))
    latency = EstimateRecord.of(timing.estimate(Tier.T3)) if timing.certified else None
    return HostTiming(str(model), target.id, fmt, engine_of(target, fmt), latency, timing)


def _artifacts(model: Path, target: Target) -> list[tuple[str, bytes, npt.NDArray[np.float32]]]:
    """Format, bytes and one preprocessed sample of everything that runs here."""
    if model.suffix == ".ekb":
        return _of_bundle(model, target)
    if model.suffix not in SUFFIXES or not model.is_file():
        raise click.UsageError(
            f"{model} cannot be timed; give a .tflite or .onnx file, or a bundle (.ekb)"
        )
    fmt = SUFFIXES[model.suffix]
    return [(fmt, model.read_bytes(), _made_up(model))]


def _of_bundle(model: Path, target: Target) -> list[tuple[str, bytes, npt.NDArray[np.float32]]]:
    from edgekiln.compiler.oracles import RUNTIME_CALLS
    from edgekiln.runtime.bundle import open_bundle
    from edgekiln.runtime.model import runnable

    bundle = open_bundle(model)
    golden = bundle.golden()
    sample = bundle.contract.preprocess(bundle.contract.check(golden.inputs[:1]))[0]
    mine = [
        artifact
        for artifact in bundle.manifest.artifacts
        if artifact.target == target.id and artifact.format in RUNTIME_CALLS
    ]
    if not mine:
        bundle.artifact(target.id)  # says which targets it is for
        raise click.UsageError(f"{model} has nothing for '{target.id}' that runs here")
    return [(artifact.format, runnable(bundle, artifact), sample) for artifact in mine]


def _made_up(model: Path) -> npt.NDArray[np.float32]:
    """One sample of the model's input shape: what an int8 or dense kernel takes does not hang on
    values."""
    import numpy as np

    from edgekiln.compiler.importers import import_model

    shape = import_model(model).input.shape[1:]
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)

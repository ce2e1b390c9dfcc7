"""`time_bundle`: what an inference takes on the device that asks (T4)."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from edgekiln.targets.evidence import Tier
from edgekiln.targets.harness import DEFAULT_RULES, Timing, time_callable
from edgekiln.targets.steadiness import Rules

from .bundle import open_bundle
from .c_library import carries_library
from .engines import OutputScale, open_engine
from .errors import EngineError
from .manifest import EstimateRecord
from .model import runnable


@dataclass(frozen=True, slots=True)
class DeviceTiming:
    """One inference of a bundle's artifact in its engine, without contract and telemetry.

    `latency` is None where the device was too busy to certify it; `timing` says why.
    """

    bundle_id: str
    target: str
    format: str
    artifact_sha256: str
    machine: str
    latency: EstimateRecord | None
    timing: Timing


def time_bundle(path: Path, target: str, rules: Rules = DEFAULT_RULES) -> DeviceTiming:
    """Time the artifact for `target` of the bundle file on its first golden vector.

    Raises:
        BundleError: the file is no bundle, or has nothing for this target.
        EngineError: no engine here runs the artifact.
        MeasurementError: the clock stood still.
    """
    bundle = open_bundle(path)
    artifact = bundle.artifact(target)
    if artifact.format == "c" and not carries_library(bundle.below(artifact.path)):
        raise EngineError(
            f"{path}: target '{target}' has C sources only, for a board; count them with: "
            f"edgekiln targets measure {path} --target {target}"
        )
    golden = bundle.golden()
    output = OutputScale(golden.scale, golden.zero_point, golden.expected.dtype.name)
    engine = open_engine(artifact.format, runnable(bundle, artifact), output)
    sample = bundle.contract.preprocess(bundle.contract.check(golden.inputs[:1]))
    timing = time_callable(lambda: engine.run(sample), rules)
    return DeviceTiming(
        bundle_id=bundle.bundle_id,
        target=target,
        format=artifact.format,
        artifact_sha256=artifact.sha256,
        machine=f"{platform.system()} {platform.machine()}",
        latency=EstimateRecord.of(timing.estimate(Tier.T4)) if timing.certified else None,
        timing=timing,
    )

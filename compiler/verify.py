"""`verify_bundle`: does a bundle still give its golden answers, on this machine, in every engine?

The bundle is opened through the runtime's reader, so a damaged file is one line before anything
runs. Expected outputs come from `golden.npz`; engines that differ by design keep the bounds of
`parity.BOUNDS`. Generated C runs the vectors that are compiled into it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.runtime.golden import Golden
from edgekiln.runtime.manifest import Artifact
from edgekiln.targets.emulate import MACHINES
from edgekiln.targets.errors import MeasurementError, TargetError
from edgekiln.targets.profiles import load_target

from .errors import CompileError
from .graph import QuantParams
from .oracles import (
    RUNTIME_ENGINES,
    Engine,
    distribution_version,
    outputs_of,
    run_c_emulated,
    run_c_host,
    run_litert_reference,
    run_runtime,
    tool_version,
)
from .parity import EngineRow, compare

Int8 = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VerifyReport:
    """One row for each artifact and engine; `notes` say which engines could not run, and why."""

    bundle_id: str
    rows: tuple[EngineRow, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True when every engine that ran kept its bound."""
        return all(row.passed for row in self.rows)


@dataclass(frozen=True)
class _Job:
    """One engine on one artifact; `run` returns int8 logits (n, classes)."""

    artifact: Artifact
    engine: Engine
    run: Callable[[], Int8]


def verify_bundle(path: Path) -> VerifyReport:
    """Run every artifact of the bundle at `path` in every engine that is here.

    Raises:
        BundleError: the file is damaged, incomplete or no bundle; one line that names the member.
    """
    bundle = open_bundle(path)
    golden = bundle.golden()
    rows: list[EngineRow] = []
    notes: list[str] = []
    for job in _jobs(bundle, golden):
        place = f"{job.artifact.target}/{job.artifact.format} in {job.engine}"
        try:
            found = _checked(job.run(), golden)
        except TargetError as error:
            notes.append(f"{place} was not run: {error}")
        except CompileError as error:
            rows.append(_row(job, golden.expected, _opposite(golden.expected)))
            notes.append(f"{place} failed: {error}")
        else:
            rows.append(_row(job, golden.expected, found))
    return VerifyReport(bundle.bundle_id, tuple(rows), tuple(notes))


def _jobs(bundle: Bundle, golden: Golden) -> Iterator[_Job]:
    x = bundle.contract.preprocess(bundle.contract.check(golden.inputs))
    for artifact in bundle.manifest.artifacts:
        if artifact.format == "tflite":
            model = bundle.read(artifact.path)
            run = functools.partial(run_litert_reference, model, x)
            yield _Job(artifact, Engine.LITERT_REFERENCE, run)
        if artifact.format in RUNTIME_ENGINES:
            engine, _ = RUNTIME_ENGINES[artifact.format]
            output = QuantParams((golden.scale,), (golden.zero_point,))
            model = bundle.read(artifact.path)
            run = functools.partial(run_runtime, artifact.format, model, x, output)
            yield _Job(artifact, engine, run)
        if artifact.format == "c":
            yield from _c_jobs(bundle, artifact, golden.expected.shape[1])


def _c_jobs(bundle: Bundle, artifact: Artifact, classes: int) -> Iterator[_Job]:
    prefix = f"{artifact.path}/"
    files = {
        name.removeprefix(prefix): data
        for name, data in bundle.members.items()
        if name.startswith(prefix)
    }
    yield _Job(artifact, Engine.C_HOST, lambda: run_c_host(files, classes))

    def emulated() -> Int8:
        target = load_target(artifact.target)
        if target.core.lower() not in MACHINES:
            raise MeasurementError(f"core '{target.core}' has no emulated board")
        return outputs_of(run_c_emulated(files, target).outputs, classes)

    yield _Job(artifact, Engine.C_EMULATED, emulated)


def _checked(found: Int8, golden: Golden) -> Int8:
    if found.shape != golden.expected.shape:
        raise CompileError(
            f"gives outputs of shape {found.shape}, the golden ones have {golden.expected.shape}"
        )
    return found


def _row(job: _Job, expected: Int8, found: Int8) -> EngineRow:
    version = _version(job.engine)
    return compare(job.engine, job.artifact.format, job.artifact.target, version, expected, found)


def _opposite(expected: Int8) -> Int8:
    """Stands for the answers of an engine that gave none: nothing is farther from the golden."""
    return np.where(expected > 0, -128, 127).astype(np.int8)


def _version(engine: Engine) -> str:
    if engine is Engine.C_HOST:
        return tool_version("gcc")
    if engine is Engine.C_EMULATED:
        return tool_version("arm-none-eabi-gcc")
    name = "onnxruntime" if engine is Engine.ONNXRUNTIME else "ai-edge-litert"
    return f"{name} {distribution_version(name)}"

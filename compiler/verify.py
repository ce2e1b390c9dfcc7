"""`verify_bundle`: does a bundle still give its recorded answers, on this machine, in every engine?

The bundle is opened through the runtime's reader, so a damaged file is one line before anything
runs. Golden vectors are in the bundle with their expected outputs; engines that differ by design
keep the bounds of `bounds`. Generated C runs the vectors that are compiled into it. The
certificate's own samples are not in the bundle: with the data that it was compiled from, the whole
certificate is made again from the artifacts and held against the recorded one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.runtime.engines import OutputScale
from edgekiln.runtime.errors import MemberError
from edgekiln.runtime.golden import Golden
from edgekiln.runtime.manifest import Artifact
from edgekiln.runtime.quant import Logits
from edgekiln.targets.errors import BrokenImageError, TargetError
from edgekiln.targets.profiles import load_target
from edgekiln.targets.target import Target

from .artifacts import ArtifactKind, EmittedArtifact
from .assemble import CERTIFICATE, model_samples, samples_of
from .certify import PARITY_SAMPLES, certify
from .data import Dataset
from .differences import Difference, differences
from .errors import CompileError, DataContentError, MissingKernelError
from .graph import Array
from .importers.tflite import import_tflite
from .oracles import (
    RUNTIME_ENGINES,
    Engine,
    core_compiler_version,
    distribution_version,
    outputs_of,
    run_c_emulated,
    run_c_host,
    run_library,
    run_litert_reference,
    run_runtime,
    tool_version,
)
from .parity import Certificate, EngineRow, compare
from .pricing import EmulatedArtifact
from .reference import quantize_input, run_int8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VerifyReport:
    """`rows`: each artifact in each engine on the golden vectors.

    `certificate` is the certificate made again, where the data was given; `differences` are from
    the recorded one, `notes` say which engines could not run, and why.
    """

    bundle_id: str
    passed: bool  # every engine that ran kept its bound
    rows: tuple[EngineRow, ...]
    certificate: Certificate | None
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Places of the rows that broke their bound."""
        again = self.certificate.engines if self.certificate else ()
        rows = [row for row in (*self.rows, *again) if not row.passed]
        places = [f"{row.target or row.engine}/{row.format}" for row in rows]
        diverging = self.certificate.diverging if self.certificate else {}
        places += [f"layer '{layer}' in {engine}" for engine, layer in diverging.items()]
        return tuple(dict.fromkeys(places))


# by target id: what ran, or why nothing did
Emulations = Mapping[str, EmulatedArtifact | TargetError]


@dataclass(frozen=True)
class _Job:
    """One engine on one artifact; `run` returns logits (n, classes)."""

    artifact: Artifact
    engine: Engine
    version: str
    run: Callable[[], Logits]


def verify_bundle(
    path: Path, dataset: Dataset | None = None, profiles: Sequence[Path] = ()
) -> VerifyReport:
    """Run every artifact of the bundle at `path` in every engine that is here.

    `profiles` are folders of target profiles beside the catalog.

    Raises:
        BundleError: the file is damaged, incomplete or no bundle; one line that names the member.
        DataContentError: `dataset` is not the one that the bundle was compiled from.
    """
    bundle = open_bundle(path)
    golden = bundle.golden()
    recorded = _recorded(bundle)
    if dataset is not None and dataset.sha256 != bundle.manifest.lineage.data_sha256:
        raise DataContentError(
            f"data '{dataset.name}' is not what {path} was compiled from; give that, or leave it "
            "out to run the golden vectors alone"
        )
    rows: list[EngineRow] = []
    notes: list[str] = []
    emulations = _emulations(bundle, profiles)
    for job in _jobs(bundle, golden, emulations):
        place = f"{job.artifact.target}/{job.artifact.format} in {job.engine}"
        try:
            found = _checked(job.run(), golden)
        except (TargetError, MissingKernelError) as error:
            notes.append(f"{place} was not run: {error}")
        except CompileError as error:
            rows.append(_row(job, golden.expected, _opposite(golden.expected), recorded.depth))
            notes.append(f"{place} failed: {error}")
        else:
            rows.append(_row(job, golden.expected, found, recorded.depth))
    again = None if dataset is None else _certify_again(bundle, dataset, emulations, notes)
    return VerifyReport(
        bundle_id=bundle.bundle_id,
        passed=all(row.passed for row in (*rows, *(again.engines if again else ())))
        and not (again and again.diverging),
        rows=tuple(rows),
        certificate=again,
        differences=differences(bundle.manifest, recorded, rows, again),
        notes=tuple(notes),
    )


def _recorded(bundle: Bundle) -> Certificate:
    try:
        return msgspec.json.decode(bundle.read(CERTIFICATE), type=Certificate)
    except msgspec.DecodeError as error:
        raise MemberError(f"{bundle.source}: {CERTIFICATE} breaks its schema: {error}") from error


def _certify_again(
    bundle: Bundle,
    dataset: Dataset,
    emulations: Emulations,
    notes: list[str],
) -> Certificate | None:
    """The certificate from the artifacts alone, on the samples that it was first made with."""
    holder = next((a for a in bundle.manifest.artifacts if a.format == "tflite"), None)
    if holder is None:
        notes.append("the certificate was not made again: no .tflite artifact holds the graph")
        return None
    shape = bundle.contract.input.shape
    dataset = dataclasses.replace(
        dataset, x=dataset.x.reshape(len(dataset.x), *shape), contract=bundle.contract
    )
    try:
        graph = import_tflite(bundle.read(holder.path), bundle.source)
        raw = samples_of(dataset, dataset.validation, PARITY_SAMPLES)
        golden = quantize_input(graph, model_samples(graph, dataset, bundle.golden().inputs))
        artifacts = _artifacts(bundle, golden).values()
        x = model_samples(graph, dataset, raw)
        ran = {name: e for name, e in emulations.items() if isinstance(e, EmulatedArtifact)}
        return certify(None, graph, artifacts, ran, x)
    except CompileError as error:
        notes.append(f"the certificate was not made again: {error}")
        return None


def _artifacts(bundle: Bundle, golden: Array) -> dict[ArtifactKind, EmittedArtifact]:
    """As the compiler emitted them; targets have the same bytes where they have the same kind."""
    found = {}
    for artifact in bundle.manifest.artifacts:
        files = (
            bundle.below(artifact.path)
            if artifact.format == "c"
            else {artifact.path.rpartition("/")[2]: bundle.read(artifact.path)}
        )
        emitted = EmittedArtifact(artifact.format, files, golden)
        found[emitted.kind] = emitted
    return found


def _jobs(bundle: Bundle, golden: Golden, emulations: Emulations) -> Iterator[_Job]:
    x = bundle.contract.preprocess(bundle.contract.check(golden.inputs))
    output = OutputScale(golden.scale, golden.zero_point, golden.expected.dtype.name)
    for artifact in bundle.manifest.artifacts:
        if artifact.format == "tflite":
            model = bundle.read(artifact.path)
            run = functools.partial(_run_reference, model, x)
            yield _Job(artifact, Engine.REFERENCE, f"numpy {np.__version__}", run)
            run = functools.partial(run_litert_reference, model, x)
            version = _distribution("ai-edge-litert")
            yield _Job(artifact, Engine.LITERT_REFERENCE, version, run)
        if artifact.format in RUNTIME_ENGINES:
            engine, package = RUNTIME_ENGINES[artifact.format]
            model = bundle.read(artifact.path)
            run = functools.partial(run_runtime, artifact.format, model, x, output)
            yield _Job(artifact, engine, _distribution(package), run)
        if artifact.format == "c":
            yield from _c_jobs(bundle, artifact, emulations, golden.expected.shape[1])
            if artifact.target not in emulations:
                files = bundle.below(artifact.path)
                run = functools.partial(run_library, files, x, output, bundle.source)
                yield _Job(artifact, Engine.C_LIBRARY, _distribution("edgekiln"), run)


def _run_reference(model: bytes, x: Floats) -> Logits:
    """The artifact's own graph in numpy."""
    graph = import_tflite(model, "the artifact")
    samples = x.reshape(len(x), *graph.input.shape[1:])
    return run_int8(graph, quantize_input(graph, samples))


def _c_jobs(
    bundle: Bundle, artifact: Artifact, emulations: Emulations, classes: int
) -> Iterator[_Job]:
    run = functools.partial(run_c_host, bundle.below(artifact.path), classes)
    yield _Job(artifact, Engine.C_HOST, tool_version("gcc"), run)
    emulated = emulations.get(artifact.target)
    if emulated is None:
        return
    version = emulated.compiler if isinstance(emulated, EmulatedArtifact) else ""
    run = functools.partial(_outputs, emulated, classes)
    yield _Job(artifact, Engine.C_EMULATED, version, run)


def _emulations(bundle: Bundle, profiles: Sequence[Path]) -> Emulations:
    """Each artifact of C for a microcontroller on the core of its target, by target id."""
    found: dict[str, EmulatedArtifact | TargetError] = {}
    for artifact in bundle.manifest.artifacts:
        if artifact.format == "c":
            try:
                target = load_target(artifact.target, profiles)
            except TargetError as error:
                found[artifact.target] = error
                continue
            if target.device_class == "mcu":
                found[artifact.target] = _emulated(bundle.below(artifact.path), target)
    return found


def _emulated(files: Mapping[str, bytes], target: Target) -> EmulatedArtifact | TargetError:
    try:
        emulation = run_c_emulated(files, target)
    except TargetError as error:
        return error
    return EmulatedArtifact(emulation, compiler=core_compiler_version(target))


def _outputs(emulated: EmulatedArtifact | TargetError, classes: int) -> Logits:
    if isinstance(emulated, BrokenImageError):
        raise CompileError(str(emulated))
    if isinstance(emulated, TargetError):
        raise emulated
    assert emulated.emulation is not None
    return outputs_of(emulated.emulation.outputs, classes)


def _checked(found: Logits, golden: Golden) -> Logits:
    expected = golden.expected
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise CompileError(
            f"gives {found.dtype} outputs of shape {found.shape}, the golden ones are "
            f"{expected.dtype} of {expected.shape}"
        )
    return found


def _row(job: _Job, expected: Logits, found: Logits, depth: int) -> EngineRow:
    artifact = job.artifact
    place = job.engine, artifact.format, artifact.target, job.version
    return compare(*place, expected, found, depth, artifact.numerics)


def _opposite(expected: Logits) -> Logits:
    """Stands for the answers of an engine that gave none: nothing is farther from the golden."""
    if expected.dtype.kind == "f":
        return -expected - 1
    limits = np.iinfo(expected.dtype)
    return np.where(expected > 0, limits.min, limits.max).astype(expected.dtype)


def _distribution(name: str) -> str:
    return f"{name} {distribution_version(name)}"

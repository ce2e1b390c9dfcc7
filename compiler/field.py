"""`field_latencies`: a fleet's document and its bundles, as what a refit of a profile takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.field import FieldLatency
from edgekiln.targets.field_file import LatencyDocument, LatencyRow
from edgekiln.targets.target import Target
from edgekiln.targets.workload import Workload

from .errors import ImportModelError
from .importers.tflite import import_tflite
from .kernel_loops import workload_on


@dataclass(frozen=True, slots=True)
class FieldLatencies:
    """What can be used, and a sentence about each row or bundle that cannot."""

    fields: tuple[FieldLatency, ...]
    notes: tuple[str, ...]


def field_latencies(
    document: LatencyDocument, target: Target, bundles: Sequence[Path]
) -> FieldLatencies:
    """The rows of `target` whose bundle is among `bundles`.

    A row without an engine has that of the bundle's best format.

    Raises:
        MeasurementError: no row is of this target, or none of a bundle that was given.
        ImportModelError: a bundle has no .tflite that says what its operators are.
        BundleError: a bundle that is damaged, or has nothing for the target.
    """
    rows = [row for row in document.latencies if row.target == target.id]
    if not rows:
        known = ", ".join(sorted({row.target for row in document.latencies})) or "nothing"
        raise MeasurementError(f"no device of target '{target.id}' has reported; seen: {known}")
    opened = {bundle.bundle_id: bundle for bundle in map(open_bundle, bundles)}
    used = [row for row in rows if row.bundle_id in opened]
    if not used:
        missing = ", ".join(row.bundle_id[:12] for row in rows)
        raise MeasurementError(
            f"none of these bundles was seen on '{target.id}'; give one of: {missing}"
        )
    fields = (_field(document, row, target, opened[row.bundle_id]) for row in used)
    return FieldLatencies(tuple(fields), tuple(_notes(rows, opened)))


def _field(
    document: LatencyDocument, row: LatencyRow, target: Target, bundle: Bundle
) -> FieldLatency:
    engine = row.engine or engine_of(target, bundle.artifact(target.id).format)
    work = _work(bundle, target, engine)
    return FieldLatency(
        row.bundle_id,
        engine,
        work,
        row.edges_ms or document.edges_ms,
        row.counts,
        devices=row.devices,
        rank_error=row.rank_error,
    )


def _work(bundle: Bundle, target: Target, engine: str) -> Workload:
    """Of the .tflite with the numbers that the device computes in, for whatever target it is.

    A pad that generated C has in its convolution may be an operator of its own there.
    """
    numerics = bundle.artifact(target.id).numerics
    same = [a for a in bundle.manifest.artifacts if (a.format, a.numerics) == ("tflite", numerics)]
    if not same:
        raise ImportModelError(
            f"{bundle.source}: no .tflite in {numerics} inside, which says what its operators are; "
            "compile with --format tflite as well"
        )
    best = next((artifact for artifact in same if artifact.target == target.id), same[0])
    graph = import_tflite(bundle.read(best.path), bundle.manifest.name)
    return workload_on(graph, target, engine)


def _notes(rows: Sequence[LatencyRow], opened: dict[str, Bundle]) -> Iterable[str]:
    seen = {row.bundle_id for row in rows}
    for row in rows:
        if row.bundle_id not in opened:
            yield f"bundle {row.bundle_id[:12]} {row.name} was seen, but is not given: left out"
    for bundle_id, bundle in opened.items():
        if bundle_id not in seen:
            yield f"{bundle.source} was not seen on this target: left out"

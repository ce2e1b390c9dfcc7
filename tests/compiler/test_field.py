"""A fleet's rows and its bundles: each row gets the work of what really ran, or a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekiln.compiler.artifacts import EmittedArtifact
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.errors import ImportModelError
from edgekiln.compiler.field import field_latencies
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.kernel_loops import workload_on
from edgekiln.compiler.probe_networks import networks
from edgekiln.compiler.workload import workload
from edgekiln.runtime import open_bundle
from edgekiln.targets import MeasurementError, Workload, load_target
from edgekiln.targets.field_file import LatencyDocument, LatencyRow, read_field
from edgekiln.targets.refit import refit

NO_GOLDEN = np.zeros((0,), np.int8)
EDGES_MS = (0.1, 1.0, 10.0)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return next(iter(networks(5, 1)))


def row(bundle_id: str, target: str, engine: str = "") -> LatencyRow:
    return LatencyRow(
        bundle_id=bundle_id,
        name="small",
        target=target,
        engine=engine,
        devices=2,
        samples=7,
        counts=(0, 3, 4, 0),
        median_ms=None,
        p95_ms=None,
    )


def document(*rows: LatencyRow) -> LatencyDocument:
    return LatencyDocument(edges_ms=EDGES_MS, latencies=rows)


def products(work: Workload) -> list[tuple[str, int]]:
    """What multiplies; a .tflite may have a pad of its own where a convolution had one."""
    return [(layer.op, layer.macs) for layer in work.layers if layer.op != "pad"]


def tflite(graph: Graph) -> EmittedArtifact:
    return EmittedArtifact("tflite", {"model.tflite": emit_tflite(graph)}, NO_GOLDEN)


def generated_c() -> EmittedArtifact:
    return EmittedArtifact("c", {"model.c": b"int x;\n"}, NO_GOLDEN)


def test_row_has_the_work_of_the_bundle_and_the_engine_of_its_format(
    graph: Graph, bundle_of: Callable[..., Path]
) -> None:
    path = bundle_of(graph, [("host", tflite(graph))])
    bundle_id = open_bundle(path).bundle_id
    found = field_latencies(
        document(row(bundle_id, "host"), row("0" * 64, "host"), row(bundle_id, "cortex-m4")),
        load_target("host"),
        [path],
    )
    (field,) = found.fields
    assert (field.engine, field.devices, field.samples) == ("litert", 2, 7)
    assert products(field.workload) == products(workload(graph))
    (note,) = found.notes
    assert note.startswith("bundle 000000000000 small was seen, but is not given")


def test_device_that_runs_c_is_priced_by_the_loops_of_its_kernels(
    graph: Graph, bundle_of: Callable[..., Path]
) -> None:
    target = load_target("cortex-m4")
    path = bundle_of(graph, [("cortex-m4", generated_c()), ("host", tflite(graph))])
    rows = document(row(open_bundle(path).bundle_id, "cortex-m4"))
    found = field_latencies(rows, target, [path])
    assert found.fields[0].engine == "c"
    work = found.fields[0].workload
    assert products(work) == products(workload_on(graph, target, "c"))
    assert work.layers[0].loops == workload_on(graph, target, "c").layers[0].loops
    assert refit(target, found.fields).target.costs[0].ops["conv2d"].loops


def test_bundle_without_a_tflite_is_an_error_that_says_what_to_compile(
    graph: Graph, bundle_of: Callable[..., Path]
) -> None:
    path = bundle_of(graph, [("cortex-m4", generated_c())])
    rows = document(row(open_bundle(path).bundle_id, "cortex-m4"))
    with pytest.raises(ImportModelError, match=r"small.ekb: no .tflite in int8.v1"):
        field_latencies(rows, load_target("cortex-m4"), [path])


def test_rows_of_other_targets_or_bundles_are_an_error_that_names_them(
    graph: Graph, bundle_of: Callable[..., Path]
) -> None:
    path = bundle_of(graph, [("host", tflite(graph))])
    with pytest.raises(MeasurementError, match="target 'host' has reported; seen: cortex-m4"):
        field_latencies(document(row("0" * 64, "cortex-m4")), load_target("host"), [path])
    with pytest.raises(MeasurementError, match="give one of: 000000000000"):
        field_latencies(document(row("0" * 64, "host")), load_target("host"), [path])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"edges_ms": (1.0, 0.5, 2.0)}, "rise"),
        ({"edges_ms": (1.0, 2.0)}, "2 edges make 3 counts, there are 4"),
        ({"schema": "one"}, "make it with: edgekiln fleet latency"),
    ],
)
def test_field_file_is_an_error_that_says_where(
    change: dict[str, object], says: str, tmp_path: Path
) -> None:
    plain = msgspec.to_builtins(document(row("0" * 64, "host")))
    path = tmp_path / "field.json"
    path.write_bytes(msgspec.json.encode({**plain, **change}))
    with pytest.raises(MeasurementError, match=rf"field.json.*{says}"):
        read_field(path)

"""What an artifact costs where the target's table does not know every operator."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.artifacts import ArtifactKind, EmittedArtifact, emit_artifact
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Op
from edgekiln.compiler.pricing import EmulatedArtifact, measured_note, price
from edgekiln.compiler.quantize import quantize
from edgekiln.targets.errors import TargetError, UnsupportedOperatorError
from edgekiln.targets.evidence import Budget
from edgekiln.targets.profiles import load_target

NOT_EMULATED = EmulatedArtifact(None)


@pytest.fixture(scope="module")
def gated() -> tuple[Graph, EmittedArtifact]:
    """A sigmoid gate, which no shipped table of raspberry-pi-4 prices."""
    build = GraphBuilder("gated", (1, 8))
    hidden = build.fully_connected(build.input, np.eye(4, 8, dtype=np.float32))
    graph = build.finish(build.node(Op.LOGISTIC, (hidden,)))
    samples = np.random.default_rng(0).normal(0, 1, (16, 8)).astype(np.float32)
    int8 = quantize(graph, samples)
    return int8, emit_artifact(int8, ArtifactKind("tflite"), np.zeros((1, 8), np.int8))


def test_latency_is_unknown_and_said_so_when_nothing_limits_it(
    gated: tuple[Graph, EmittedArtifact],
) -> None:
    cost, notes = price(*gated, load_target("raspberry-pi-4"), NOT_EMULATED, Budget())
    assert cost.latency is None
    assert cost.ram.value > 0 < cost.flash.value
    assert len(notes) == 1
    assert "raspberry-pi-4/tflite: its latency is not known" in notes[0]
    assert "'sigmoid'" in notes[0]
    assert cost.check(Budget(ram_bytes=10**9))[0].passed
    with pytest.raises(TargetError):
        cost.check(Budget(latency_ms=1.0))
    assert measured_note("pi", None, None, Budget()) == ""


def test_an_operator_without_a_cost_is_an_error_when_latency_is_limited(
    gated: tuple[Graph, EmittedArtifact],
) -> None:
    target = load_target("raspberry-pi-4")
    with pytest.raises(UnsupportedOperatorError, match="sigmoid"):
        price(*gated, target, NOT_EMULATED, Budget(latency_ms=5.0))

"""What an artifact costs where the target's table does not know every operator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgekiln.compiler.artifacts import ArtifactKind, EmittedArtifact, emit_artifact
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Op
from edgekiln.compiler.pricing import EmulatedArtifact, measured_note, price
from edgekiln.compiler.quantize import quantize
from edgekiln.targets.emulate import Emulation
from edgekiln.targets.errors import NoCostTableError, TargetError, UnsupportedOperatorError
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


def test_instructions_without_cycles_are_no_latency(gated: tuple[Graph, EmittedArtifact]) -> None:
    graph, _ = gated
    artifact = emit_artifact(graph, ArtifactKind("c"), np.zeros((1, 8), np.int8))
    counted = EmulatedArtifact(Emulation(1000, b"", 2000, 64, 16, 100))
    silent = load_target("esp32-c3")
    assert silent.cycles_per_instruction is None
    cost, notes = price(graph, artifact, silent, counted, Budget())
    assert cost.latency is None
    assert any("not known" in note and "cycles_per_instruction" in note for note in notes)
    assert any("1000 instructions" in note for note in notes)
    with pytest.raises(NoCostTableError, match="state cycles_per_instruction"):
        price(graph, artifact, silent, counted, Budget(latency_ms=1.0))
    told = dataclasses.replace(silent, cycles_per_instruction=(1.0, 2.0, 4.0))
    latency = price(graph, artifact, told, counted, Budget())[0].timed
    assert latency.value == pytest.approx(2 * 1000 / 160e6 * 1e3)


def test_device_without_a_cost_table_is_priced_in_bytes_alone(
    gated: tuple[Graph, EmittedArtifact],
) -> None:
    phone = load_target("pixel-3")
    cost, (note,) = price(*gated, phone, NOT_EMULATED, Budget())
    assert cost.latency is None
    assert cost.flash.value == gated[1].nbytes + phone.runtime.flash_overhead
    assert "pixel-3/tflite: its latency is not known" in note
    assert "edgekiln targets calibrate host -o" in note
    with pytest.raises(NoCostTableError, match="calibrate host"):  # a host can be measured
        price(*gated, load_target("host"), NOT_EMULATED, Budget())


def test_operator_that_the_profile_leaves_out_is_an_error_without_a_budget(
    gated: tuple[Graph, EmittedArtifact],
) -> None:
    target = dataclasses.replace(load_target("pixel-3"), ops={"fully_connected": ("int8",)})
    with pytest.raises(UnsupportedOperatorError, match="'sigmoid' in int8"):
        price(*gated, target, NOT_EMULATED, Budget())

"""What an artifact costs where the target's table does not know every operator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler.artifacts import ArtifactKind, EmittedArtifact, emit_artifact, kind_for
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Op
from edgekiln.compiler.pricing import EmulatedArtifact, emulate_artifact, measured_note, price
from edgekiln.compiler.quantize import quantize
from edgekiln.targets.emulate import TOOLS, Emulation
from edgekiln.targets.errors import NoCostTableError, TargetError, UnsupportedOperatorError
from edgekiln.targets.evidence import Budget, Tier
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


IMAGE = Emulation(
    instructions=1000,
    outputs=b"",
    code_bytes=700,
    weight_bytes=30,
    ram_bytes=64,
    stack_bytes=100,
)


def test_image_is_the_cost_of_c_when_it_was_emulated(
    gated: tuple[Graph, EmittedArtifact],
) -> None:
    graph, _ = gated
    target = load_target("cortex-m4")
    artifact = emit_artifact(graph, kind_for(target, "c"), np.zeros((1, 8), np.int8))
    cost, _ = price(graph, artifact, target, EmulatedArtifact(IMAGE), Budget(latency_ms=1.0))
    assert cost.latency is not None
    assert cost.latency.value == pytest.approx(1000 * 1.5 / 120e6 * 1e3)
    assert (cost.ram.value, cost.flash.value) == (164, 730)
    assert {part.tier for part in (cost.latency, cost.ram, cost.flash)} == {Tier.T2}
    # Without cycles per instruction the table is asked, which lacks an operator of this model.
    slow = dataclasses.replace(target, cycles_per_instruction=None, costs=())
    cost, notes = price(graph, artifact, slow, EmulatedArtifact(IMAGE), Budget())
    assert (cost.latency, cost.ram.value) == (None, 164)
    assert any("its latency is not known" in note for note in notes)
    with pytest.raises(TargetError):
        price(graph, artifact, slow, EmulatedArtifact(IMAGE), Budget(latency_ms=1.0))


@pytest.mark.tool
def test_nothing_comes_out_when_generated_c_faults_on_its_core(
    require_tool: Callable[[str], str],
) -> None:
    """A model that cannot run there is no model that could not be measured there."""
    for tool in TOOLS:
        require_tool(tool)
    build = GraphBuilder("dense", (1, 4))
    graph = build.finish(build.fully_connected(build.input, np.eye(2, 4, dtype=np.float32)))
    int8 = quantize(graph, np.random.default_rng(0).normal(0, 1, (16, 4)).astype(np.float32))
    target = load_target("cortex-m4")
    made = emit_artifact(int8, kind_for(target, "c"), np.zeros((1, 4), np.int8))
    trap = b"void model_invoke(model *m) {\n    __builtin_trap();\n"
    model = made.files["model.c"].replace(b"void model_invoke(model *m) {\n", trap)
    broken = EmittedArtifact("c", {**made.files, "model.c": model}, made.golden)
    with pytest.raises(CompileError, match=r"cortex-m4/c: generated C is broken: .*faulted"):
        emulate_artifact(broken, target)


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

"""Budgets are judged before training, with reasons that a person can act on."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import numpy as np
import pytest

from edgekiln.compiler import emit_tflite
from edgekiln.compiler.artifacts import c_constant_bytes, emit_artifact, kind_for
from edgekiln.compiler.emit_c import memory_plan
from edgekiln.compiler.emit_c_family import family_of_core
from edgekiln.compiler.errors import CompileError
from edgekiln.compiler.plan import plan_arena
from edgekiln.compiler.pricing import emulate_artifact
from edgekiln.search.errors import SearchError
from edgekiln.search.lower import lower
from edgekiln.search.sieve import check_targets, nothing_fits, price
from edgekiln.search.space import Block, BlockKind, ConvCandidate, ConvSpace
from edgekiln.targets import Budget, Target, load_target
from edgekiln.targets.emulate import TOOLS

Maker = Callable[..., Target]


RESIDUAL = ConvCandidate(8, 3, 1, (Block(BlockKind.RESIDUAL, 8, 3),))
SPACE = ConvSpace((8, 8, 1), 10)


def test_price_counts_the_bytes_that_the_emitter_writes(target_maker: Maker) -> None:
    rng = random.Random(2)
    for candidate in [SPACE.sample(rng) for _ in range(8)]:
        graph = lower(SPACE.blueprint(candidate), "candidate")
        priced = price(graph, [target_maker()])
        cost = priced.verdicts[0].footprint
        assert cost is not None
        assert cost.flash.high == priced.model_bytes == len(emit_tflite(graph))
        assert cost.ram.high == priced.arena_bytes == plan_arena(graph).arena_bytes


def test_price_counts_the_memory_of_the_kernels_when_the_target_runs_c(
    target_maker: Maker,
) -> None:
    graph = lower(SPACE.blueprint(RESIDUAL), "candidate")
    known = load_target("cortex-m4")
    counts = tuple(table for table in known.costs if table.evidence_id == "probes-c")
    known = dataclasses.replace(known, costs=counts)
    targets = [dataclasses.replace(known, core=core) for core in ("cortex-m4", "cortex-m0plus")]
    found = [verdict.footprint for verdict in price(graph, [*targets, target_maker()]).verdicts]
    sizes = [cost.ram.high for cost in found if cost is not None]
    arenas = [memory_plan(graph, family_of_core(target.core)).arena_bytes for target in targets]
    overhead = known.runtime.ram_overhead
    assert sizes == [*(arena + overhead for arena in arenas), plan_arena(graph).arena_bytes]
    assert len(set(arenas)) == 2
    golden = np.zeros((1, *graph.input.shape[1:]), np.int8)
    made = [emit_artifact(graph, kind_for(target, "c"), golden) for target in targets]
    flash = [cost.flash.high for cost in found if cost is not None]
    parameters = [c_constant_bytes(artifact.files) for artifact in made]
    assert flash[:2] == [number + known.runtime.flash_overhead for number in parameters]


@pytest.mark.slow
@pytest.mark.tool
def test_price_of_c_is_what_its_image_turns_out_to_need(
    require_tool: Callable[[str], str],
) -> None:
    """The overheads of the profile are reserves for stack and code: enough, and of their size."""
    for tool in TOOLS:
        require_tool(tool)
    target = load_target("cortex-m4")
    rng = random.Random(5)
    for candidate in [RESIDUAL, SPACE.sample(rng), SPACE.sample(rng)]:
        graph = lower(SPACE.blueprint(candidate), "candidate")
        predicted = price(graph, [target]).verdicts[0].footprint
        golden = np.zeros((1, *graph.input.shape[1:]), np.int8)
        artifact = emit_artifact(graph, kind_for(target, "c"), golden)
        image = emulate_artifact(artifact, target).emulation
        assert predicted is not None
        assert image is not None
        for reserved, needed, overhead in (
            (predicted.ram.high, image.ram_total_bytes, target.runtime.ram_overhead),
            (predicted.flash.high, image.flash_bytes, target.runtime.flash_overhead),
        ):
            assert reserved - overhead < needed <= reserved


def test_price_rejects_with_the_limit_when_a_budget_breaks(target_maker: Maker) -> None:
    graph = lower(SPACE.blueprint(RESIDUAL), "candidate")
    targets = [
        target_maker("wide"),
        target_maker("tight", Budget(flash_bytes=100, ram_bytes=10_000)),
    ]
    priced = price(graph, targets)
    wide, tight = priced.verdicts
    assert wide.fits
    assert priced.fits_any
    assert not tight.fits
    assert [reason.split()[0] for reason in tight.reasons] == ["flash"]
    assert tight.excess == priced.model_bytes / 100


def test_price_rejects_when_the_device_itself_is_too_small(target_maker: Maker) -> None:
    target = target_maker()
    small = dataclasses.replace(target, memory=dataclasses.replace(target.memory, ram=64))
    verdict = price(lower(SPACE.blueprint(RESIDUAL), "candidate"), [small]).verdicts[0]
    assert "RAM" in verdict.reasons[0]


def test_price_names_the_operator_when_the_target_cannot_price_it(target_maker: Maker) -> None:
    graph = lower(SPACE.blueprint(RESIDUAL), "candidate")
    verdict = price(graph, [target_maker(without="add")]).verdicts[0]
    assert verdict.footprint is None
    assert "'add'" in verdict.reasons[0]


def test_price_rejects_when_the_profile_leaves_an_operator_out(target_maker: Maker) -> None:
    target = dataclasses.replace(target_maker(), ops={"conv2d": ("int8",), "mean": ("int8",)})
    (verdict,) = price(lower(SPACE.blueprint(SPACE.smallest()), "x"), [target]).verdicts
    assert verdict.footprint is None
    assert "does not run operator 'fully_connected' in int8" in verdict.reasons[0]


def test_nothing_fits_names_the_nearest_miss_of_every_target(target_maker: Maker) -> None:
    targets = [target_maker("one", Budget(flash_bytes=1000)), target_maker("two", Budget(0.001))]
    wide = ConvCandidate(48, 3, 1, ())
    priced = [price(lower(SPACE.blueprint(c), "x"), targets) for c in (wide, SPACE.smallest())]
    text = str(nothing_fits(priced))
    assert "\n" not in text
    assert "on one: flash" in text
    assert "on two: latency" in text
    assert f"{priced[1].model_bytes / 1000:.0%}" in text


def test_check_targets_says_how_to_mend_when_a_table_is_missing(target_maker: Maker) -> None:
    bare = dataclasses.replace(target_maker("host"), device_class="host", costs=())
    with pytest.raises(SearchError, match="edgekiln targets calibrate host"):
        check_targets([bare])


def test_check_targets_refuses_when_a_target_is_missing_or_twice(target_maker: Maker) -> None:
    with pytest.raises(SearchError, match="at least one target"):
        check_targets([])
    with pytest.raises(SearchError, match="each one once"):
        check_targets([target_maker(), target_maker()])


def test_check_targets_refuses_when_energy_is_limited(target_maker: Maker) -> None:
    with pytest.raises(CompileError, match="energy"):
        check_targets([target_maker(budget=Budget(energy_mj=1.0))])

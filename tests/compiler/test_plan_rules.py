"""The rules of overlap against the kernels themselves: C that runs with its operands that close."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.emit_c_layers import layer
from edgekiln.compiler.graph import Array, Graph
from edgekiln.compiler.ops import NoAttrs, Op, SliceAttrs
from edgekiln.compiler.plan_overlap import ANYWHERE, Overlap
from edgekiln.compiler.plan_rules import Sharing, sharing
from edgekiln.compiler.quantize import quantize

RequireTool = Callable[[str], str]
Make = Callable[[np.random.Generator], Graph]
SAMPLES = 12

MAIN = b"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "golden.h"
#include "model.h"
int at[5];
static model m;
int main(int argc, char **argv) {
    const int input = atoi(argv[1]), first = atoi(argv[2]), last = atoi(argv[3]);
    const int moved = atoi(argv[4]), inputs = atoi(argv[5]), fixed = atoi(argv[6]);
    for (int delta = first; delta <= last; delta++) {
        int equal = 1;
        for (int i = 0; i < inputs; i++) at[i] = input;
        at[moved] = input + delta;
        at[moved == inputs ? inputs + 1 : inputs] = fixed;
        for (int sample = 0; sample < GOLDEN_COUNT; sample++) {
            int8_t *arena = (int8_t *)m.arena;
            memset(arena, 0x55, sizeof m.arena);
            memcpy(arena + input, golden_inputs[sample], MODEL_INPUT_SIZE);
            model_invoke(&m);
            equal &= !memcmp(arena + at[inputs], golden_outputs[sample], MODEL_OUTPUT_SIZE);
        }
        putchar(equal ? '1' : '0');
    }
    return argc != 7;
}
"""


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def _conv(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("conv", (1, 6, 5, 4))
    return build.finish(
        build.conv2d(build.input, _normal(rng, 5, 3, 3, 4), padding=((1, 1), (1, 1)))
    )


def _strided(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("strided", (1, 9, 8, 3))
    weights = _normal(rng, 4, 3, 2, 3)
    return build.finish(build.conv2d(build.input, weights, stride=(2, 2), padding=((0, 1), (1, 0))))


def _dilated(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("dilated", (1, 7, 8, 4))
    weights = _normal(rng, 6, 2, 3, 4)
    return build.finish(
        build.conv2d(build.input, weights, dilation=(3, 2), padding=((2, 2), (3, 0)))
    )


def _same_channels(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("same_channels", (1, 5, 3, 8))
    return build.finish(build.conv2d(build.input, _normal(rng, 8, 1, 1, 8)))


def _more_channels(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("more_channels", (1, 5, 3, 4))
    return build.finish(build.conv2d(build.input, _normal(rng, 11, 1, 1, 4)))


def _fewer_channels(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("fewer_channels", (1, 5, 3, 8))
    return build.finish(build.conv2d(build.input, _normal(rng, 3, 1, 1, 8)))


def _depthwise(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("depthwise", (1, 5, 6, 3))
    weights = _normal(rng, 1, 3, 3, 3)
    return build.finish(build.depthwise_conv2d(build.input, weights, padding=((1, 1), (1, 1))))


def _strided_depthwise(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("strided_depthwise", (1, 7, 7, 4))
    weights = _normal(rng, 1, 3, 3, 4)
    return build.finish(
        build.depthwise_conv2d(build.input, weights, stride=(2, 2), padding=((1, 1), (1, 1)))
    )


def _wide_depthwise(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("wide_depthwise", (1, 4, 5, 2))
    weights = _normal(rng, 1, 2, 3, 2)
    return build.finish(build.depthwise_conv2d(build.input, weights, padding=((3, 2), (1, 4))))


def _depthwise_in_line(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("in_line", (1, 1, 12, 3))
    weights = _normal(rng, 1, 1, 3, 3)
    return build.finish(
        build.depthwise_conv2d(build.input, weights, dilation=(1, 2), padding=((0, 0), (3, 1)))
    )


def _several_of_a_channel(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("several", (1, 5, 4, 3))
    return build.finish(build.depthwise_conv2d(build.input, _normal(rng, 1, 3, 3, 6)))


def _grouped(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("grouped", (1, 5, 4, 6))
    return build.finish(build.conv2d(build.input, _normal(rng, 4, 2, 2, 3)))


def _add(_: np.random.Generator) -> Graph:
    build = GraphBuilder("add", (1, 3, 4, 2))
    return build.finish(build.add(build.input, build.input))


def _max_pool(_: np.random.Generator) -> Graph:
    build = GraphBuilder("max_pool", (1, 7, 6, 3))
    return build.finish(build.max_pool2d(build.input, (3, 2), (2, 1), ((1, 1), (1, 0))))


def _average_pool(_: np.random.Generator) -> Graph:
    build = GraphBuilder("average_pool", (1, 6, 5, 2))
    return build.finish(build.average_pool2d(build.input, (2, 3), (1, 2), ((0, 1), (1, 1))))


def _mean(_: np.random.Generator) -> Graph:
    build = GraphBuilder("mean", (1, 4, 3, 5))
    return build.finish(build.mean(build.input))


def _pad(_: np.random.Generator) -> Graph:
    build = GraphBuilder("pad", (1, 3, 4, 2))
    return build.finish(build.pad(build.input, ((1, 2), (2, 1))))


def _relu(_: np.random.Generator) -> Graph:
    build = GraphBuilder("relu", (1, 3, 4, 2))
    return build.finish(build.relu(build.input))


def _softmax(_: np.random.Generator) -> Graph:
    build = GraphBuilder("softmax", (1, 3, 7))
    return build.finish(build.node(Op.SOFTMAX, (build.input,), NoAttrs()))


def _dense(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("dense", (1, 13))
    return build.finish(build.fully_connected(build.input, _normal(rng, 10, 13)))


def _rows(rng: np.random.Generator) -> Graph:
    build = GraphBuilder("rows", (1, 3, 9))
    return build.finish(build.fully_connected(build.input, _normal(rng, 6, 9)))


EXACT = (_conv, _strided, _dilated, _same_channels, _more_channels, _fewer_channels)
EXACT += (_add, _max_pool, _average_pool, _pad, _softmax, _relu, _dense, _rows)
SAFE = (_depthwise, _strided_depthwise, _wide_depthwise, _mean)
DSP = (_conv, _strided, _dilated, _same_channels, _more_channels, _fewer_channels)
DSP += (_depthwise, _strided_depthwise, _add, _dense, _rows)
PORTABLE = (*EXACT, *SAFE, _several_of_a_channel, _grouped)
HELIUM = (*DSP, _wide_depthwise, _depthwise_in_line)
CASES = [pytest.param(make, Family.PORTABLE) for make in PORTABLE]
CASES += [pytest.param(make, Family.DSP, marks=pytest.mark.slow) for make in DSP]
CASES += [pytest.param(make, Family.HELIUM, marks=pytest.mark.slow) for make in HELIUM]


def _quantized(make: Make) -> tuple[Graph, Array]:
    rng = np.random.default_rng(3)
    graph = make(rng)
    shape = graph.input.shape[1:]
    int8 = quantize(graph, rng.normal(0, 1, (16, *shape)).astype(np.float32))
    return int8, rng.integers(-128, 128, (SAMPLES, *shape)).astype(np.int8)


class _Bench:
    """One compiled layer that runs with its operands anywhere."""

    def __init__(self, make: Make, family: Family, folder: Path, cc: str) -> None:
        self.graph, golden = _quantized(make)
        (node,) = self.graph.nodes
        call = layer(self.graph, node, 0, family)
        self.shared = sharing(self.graph, node, call.kernel)
        self.inputs, self.scratch = len(call.inputs), call.scratch_bytes
        self.read, self.written = self.graph.input.nbytes, self.graph.output.nbytes
        self._room = (self.read + self.written + self.scratch + 64) // 16 * 16
        self._folder = folder
        files = dict(emit_c(self.graph, golden, family).files)
        files["model.h"] = re.sub(
            rb"(MODEL_ARENA_SIZE) \d+", rb"\1 %d" % (4 * self._room), files["model.h"]
        )
        start = files["model.c"].index(b"void model_invoke")
        body = files["model.c"][start:]
        for index in range(self.inputs + 1 + bool(self.scratch)):
            body = re.sub(rb"arena \+ \d+", b"arena + at[%d]" % index, body, count=1)
        files["model.c"] = files["model.c"][:start] + b"extern int at[5];\n" + body
        files["main.c"] = MAIN
        for name, data in files.items():
            (folder / name).write_bytes(data)
        sources = sorted(name for name in files if name.endswith(".c"))
        subprocess.run((cc, "-std=c99", "-O2", "-w", "-o", "run", *sources), cwd=folder, check=True)

    def equal(self, moved: int, first: int, last: int) -> list[bool]:
        """Whether all outputs are right with operand `moved` at input + delta, first..last."""
        places = (self._room, first, last, moved, self.inputs, 3 * self._room)
        command = (str(self._folder / "run"), *map(str, places))
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return [digit == "1" for digit in result.stdout]

    def check(self, overlap: Overlap, moved: int, nbytes: int, step: int = 1) -> list[int]:
        """Every allowed distance is right; the distances that are not."""
        first = -(nbytes + 8) // step * step
        found = self.equal(moved, first, self.read + 8)
        wrong = [first + i for i, equal in enumerate(found) if not equal]
        assert len(found) == self.read + 9 - first
        assert not [delta for delta in wrong if delta % step == 0 and overlap.allows(delta)]
        return wrong


@pytest.mark.parametrize(("make", "family"), CASES)
@pytest.mark.slow
def test_outputs_are_right_when_they_lie_at_any_distance_that_is_allowed(
    make: Make, family: Family, tmp_path: Path, require_tool: RequireTool
) -> None:
    bench = _Bench(make, family, tmp_path, require_tool("gcc"))
    apart = Overlap(-bench.written, bench.read)
    overlap = bench.shared.output or apart
    wrong = bench.check(overlap, bench.inputs, bench.written)
    if make in EXACT and overlap != ANYWHERE:
        assert overlap.highest + 1 in wrong
        assert overlap.lowest - 1 in wrong
    elif overlap != ANYWHERE:
        assert wrong


@pytest.mark.parametrize("make", [_dense, _rows])
def test_scratch_may_lie_on_the_input_when_it_is_a_dsp_column(
    make: Make, tmp_path: Path, require_tool: RequireTool
) -> None:
    """At whole words: that is where the planner puts it."""
    bench = _Bench(make, Family.DSP, tmp_path, require_tool("gcc"))
    overlap = bench.shared.scratch
    assert overlap is not None
    wrong = bench.check(overlap, bench.inputs + 1, bench.scratch, step=4)
    assert overlap.highest > -bench.scratch
    assert [delta for delta in wrong if delta > overlap.highest]


def test_helium_scratch_is_a_few_pixels_when_an_image_is_one_row() -> None:
    """Its rows are then pixels, of which five lie under a window; 3 offsets and 15 bytes more."""
    graph, _ = _quantized(_depthwise_in_line)
    call = layer(graph, graph.nodes[0], 0, Family.HELIUM)
    assert call.scratch_bytes == 3 * 4 + 5 * 3 + 15


def test_nothing_is_shared_when_the_kernel_is_unknown() -> None:
    build = GraphBuilder("slice", (1, 4, 4, 2))
    x = build.node(Op.SLICE, (build.input,), SliceAttrs((0, 1, 0, 0), (1, 2, 4, 2), (1, 1, 1, 1)))
    graph = build.finish(x)
    assert sharing(graph, graph.nodes[0], "ek_slice") == Sharing()

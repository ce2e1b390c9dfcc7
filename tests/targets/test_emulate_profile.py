"""Where instructions go: counts of functions that can be checked by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.targets import emulate
from edgekiln.targets.emulate import Emulation, emulate_folder
from edgekiln.targets.emulate_profile import FunctionCount, measure_folder, profile_folder
from edgekiln.targets.machines import MACHINES, PACKAGES
from edgekiln.targets.profiles import load_target

MAIN = """
#include "ek_port.h"
void model_invoke(void);
extern const signed char model_weights[];
static signed char context[8];
int main(void) {
    for (int sample = 0; sample < 2; sample++) {
        context[0] = model_weights[0];
        ek_probe_begin();
        model_invoke();
        ek_probe_end();
        ek_putchar('0');
        ek_putchar('0' + context[0]);
        ek_putchar('\\n');
    }
    return 0;
}
"""
ARM = """
__attribute__((naked)) void helper(void) { __asm__ volatile("nop\\n nop\\n bx lr\\n"); }
__attribute__((naked)) void model_invoke(void) {
    __asm__ volatile("push {r4, lr}\\n bl helper\\n bl helper\\n pop {r4, pc}\\n");
}
"""
# The last call is a jump: helper returns to the caller of model_invoke.
JUMP = """
__attribute__((naked)) void helper(void) { __asm__ volatile("nop\\n nop\\n bx lr\\n"); }
__attribute__((naked)) void model_invoke(void) {
    __asm__ volatile("push {r4, lr}\\n bl helper\\n pop {r4, lr}\\n b helper\\n");
}
"""
SLOW = pytest.mark.slow  # tests/targets/test_emulate.py runs a Cortex-M4 twice
# Any core's compiler makes something of this.
PLAIN = "void model_invoke(void) { volatile int sum = 0; for (int i = 0; i < 9; i++) sum += i; }"


def _folder(path: Path, model: str) -> Path:
    weights = "const signed char model_weights[4] = {7};\n"
    for name, text in (("main.c", MAIN), ("model.c", model), ("weights.c", weights)):
        (path / name).write_text(text)
    return path


def test_functions_have_their_own_instructions_when_profiled(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    for tool in emulate.TOOLS:
        require_tool(tool)
    target, folder = load_target("cortex-m4"), _folder(tmp_path, ARM)
    found = profile_folder(folder, target)
    assert found == (FunctionCount("helper", 6), FunctionCount("model_invoke", 4))
    assert emulate_folder(folder, target).instructions == 10


@pytest.mark.parametrize(("model", "calls"), [(ARM, (5, 5)), (JUMP, (5, 5))])
def test_calls_add_up_to_the_instructions_when_the_last_is_a_jump_or_not(
    model: str, calls: tuple[int, ...], tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    for tool in emulate.TOOLS:
        require_tool(tool)
    found = measure_folder(_folder(tmp_path, model), load_target("cortex-m4"))
    assert found.calls == calls
    assert found.emulation.instructions == sum(calls)


@pytest.fixture
def emulate_plain(tmp_path: Path, require_tool: Callable[[str], str]) -> Callable[[str], Emulation]:
    """core -> a run of `PLAIN` on it."""

    def emulate_on(core: str) -> Emulation:
        for tool in MACHINES[core].tools:
            assert tool in PACKAGES
            require_tool(tool)
        target = dataclasses.replace(load_target("cortex-m4"), core=core)
        return emulate_folder(_folder(tmp_path, PLAIN), target)

    return emulate_on


@pytest.mark.tool
@pytest.mark.parametrize("core", MACHINES)
def test_figures_are_plausible_when_any_core_runs_the_same_loop(
    core: str, emulate_plain: Callable[[str], Emulation]
) -> None:
    result = emulate_plain(core)
    assert result.outputs == b"\x07\x07"
    assert 9 * 4 < result.instructions < 9 * 20
    assert 0 < result.stack_bytes <= 32
    assert (result.weight_bytes, result.ram_bytes) == (4, 8)


@pytest.mark.tool
@pytest.mark.parametrize(
    "core", [core if core == "rv32imc" else pytest.param(core, marks=SLOW) for core in MACHINES]
)
def test_figures_are_equal_when_a_core_runs_twice(
    core: str, emulate_plain: Callable[[str], Emulation]
) -> None:
    assert emulate_plain(core) == emulate_plain(core)

"""Emulation: counts that can be checked by hand, and figures that never change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.targets import emulate
from edgekiln.targets.emulate import emulate_folder, latency_from_instructions, missing_tools
from edgekiln.targets.errors import BrokenImageError, MeasurementError, MissingToolError
from edgekiln.targets.evidence import Tier
from edgekiln.targets.target import Memory, Runtime, Target

RequireTool = Callable[[str], str]

MAIN = """
#include "ek_port.h"
void model_invoke(signed char *arena, int rounds);
extern const signed char model_weights[];
static signed char context[96];
int main(void) {
    for (int rounds = ROUNDS; rounds > 0; rounds--) {
        context[0] = model_weights[1];
        ek_probe_begin();
        model_invoke(context, rounds);
        ek_probe_end();
        ek_putchar('0');
        ek_putchar('a' + rounds);
        ek_putchar('\\n');
    }
    return RESULT;
}
"""
# 1 push, `rounds` times 2 instructions of a loop, 1 pop, 1 return; 16 bytes of stack.
MODEL = """
__attribute__((naked)) void model_invoke(signed char *arena, int rounds) {
    (void)arena, (void)rounds;
    __asm__ volatile("push {r4-r7}\\n 1: subs r1, #1\\n bne 1b\\n pop {r4-r7}\\n bx lr\\n");
}
"""
WEIGHTS = "const signed char model_weights[100] = {1, 2, 3};\n"


def _target(core: str = "cortex-m4") -> Target:
    return Target(
        id="board",
        title="A board",
        device_class="mcu",
        core=core,
        clock_hz=100_000_000,
        memory=Memory(ram=1 << 17, flash=1 << 20),
        runtime=Runtime("c"),
        formats=("c",),
        ops={},
        cycles_per_instruction=(1.0, 1.5, 2.0),
    )


def _folder(path: Path, rounds: int = 3, result: int = 0, model: str = MODEL) -> Path:
    main = MAIN.replace("ROUNDS", str(rounds)).replace("RESULT", str(result))
    for name, text in (("main.c", main), ("model.c", model), ("weights.c", WEIGHTS)):
        (path / name).write_text(text)
    return path


@pytest.fixture(autouse=True)
def _tools(require_tool: RequireTool) -> None:
    for tool in emulate.TOOLS:
        require_tool(tool)


def test_figures_are_those_of_the_assembly_when_counted(tmp_path: Path) -> None:
    result = emulate_folder(_folder(tmp_path), _target())
    assert result.instructions == 1 + 2 * 3 + 1 + 1
    assert result.stack_bytes == 16
    assert result.weight_bytes == 100
    assert result.ram_bytes == 96
    assert result.code_bytes == 12
    assert result.outputs == b"\x0d\x0c\x0b"


def test_figures_are_equal_when_run_twice(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert emulate_folder(folder, _target()) == emulate_folder(folder, _target())


def test_outputs_are_kept_when_the_program_reports_a_difference(tmp_path: Path) -> None:
    result = emulate_folder(_folder(tmp_path, rounds=1, result=1), _target())
    assert result.outputs == b"\x0b"


def test_error_names_the_tools_complaint_when_code_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(BrokenImageError, match=r"compile failed: .*error") as caught:
        emulate_folder(_folder(tmp_path, model="nonsense"), _target())
    assert "\n" not in str(caught.value)


def test_error_says_faulted_when_code_faults(tmp_path: Path) -> None:
    model = "void model_invoke(void) { __builtin_trap(); }"
    with pytest.raises(BrokenImageError, match="faulted"):
        emulate_folder(_folder(tmp_path, model=model), _target())


def test_error_says_hung_when_code_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulate, "TIMEOUT_S", 1)
    model = 'void model_invoke(void) { for (;;) { __asm__ volatile(""); } }'
    with pytest.raises(MeasurementError, match="did not end within 1 s"):
        emulate_folder(_folder(tmp_path, model=model), _target())


def test_error_says_what_does_not_fit_when_memory_is_exceeded(tmp_path: Path) -> None:
    model = (
        "static volatile char huge[5 << 20]; void model_invoke(char *a, int i) { huge[i] = *a; }"
    )
    with pytest.raises(MeasurementError, match=r"link failed: .*model_ram.* will not fit"):
        emulate_folder(_folder(tmp_path, model=model), _target())


def test_core_is_refused_when_no_board_has_it(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="core 'z80' has no emulated board"):
        emulate_folder(_folder(tmp_path), _target("z80"))


def test_folder_is_refused_when_it_has_no_sources(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no C files"):
        emulate_folder(tmp_path, _target())


def test_missing_tools_are_named_with_packages_when_path_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_tools() == ("arm-none-eabi-gcc", "qemu-system-arm", "gcc")
    with pytest.raises(MissingToolError, match=r"make system.*gcc-arm-none-eabi qemu-system-arm"):
        emulate_folder(tmp_path, _target())


def test_latency_follows_cycles_and_clock_when_estimated() -> None:
    estimate = latency_from_instructions(_target(), 200_000)
    assert (estimate.low, estimate.value, estimate.high) == (2.0, 3.0, 4.0)
    assert (estimate.unit, estimate.tier) == ("ms", Tier.T2)

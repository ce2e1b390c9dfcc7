"""The emulated machines: by core, the QEMU board, the compiler and where code and RAM lie.

A core that no roomy board of QEMU has runs on one whose core executes the same instructions in the
same way: counts of ARMv6-M code are the same on a Cortex-M3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20

# tool -> the Debian package that brings it
PACKAGES: Mapping[str, str] = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "qemu-system-riscv32": "qemu-system-misc",
    "gcc": "gcc",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A QEMU board, the flags of its core, and (address, bytes) of code and RAM.

    `prefix` is that of the compiler and its binutils, `harness` the file of emulator/ that starts
    the core.
    """

    board: str
    flags: tuple[str, ...]
    code: tuple[int, int] = (0x0000_0000, 4 * MIB)
    ram: tuple[int, int] = (0x2000_0000, 4 * MIB)
    qemu: tuple[str, ...] = ("qemu-system-arm",)
    prefix: str = "arm-none-eabi-"
    harness: str = "harness_arm.c"

    @property
    def tools(self) -> tuple[str, ...]:
        """Commands that must be installed: compiler, emulator, and gcc for the plugin."""
        return (f"{self.prefix}gcc", self.qemu[0], "gcc")


def _cortex(board: str, core: str) -> Machine:
    """Integer kernels: with or without a floating-point unit, the code is the same."""
    return Machine(board, (f"-mcpu={core}", "-mthumb", "-mfloat-abi=soft"))


_CORTEX_M0 = _cortex("mps2-an385", "cortex-m0plus")
_CORTEX_M3 = _cortex("mps2-an385", "cortex-m3")
_CORTEX_M4 = _cortex("mps2-an386", "cortex-m4")
_CORTEX_M7 = _cortex("mps2-an500", "cortex-m7")
# Secure memory; the board's first core has the DSP extension.
_CORTEX_M33 = Machine(
    board="mps2-an505",
    flags=("-mcpu=cortex-m33", "-mthumb", "-mfloat-abi=soft"),
    code=(0x1000_0000, 4 * MIB),
    ram=(0x3800_0000, 4 * MIB),
)
# Tightly coupled memories; vectors need the floating-point registers.
_CORTEX_M55 = Machine(
    board="mps3-an547",
    flags=("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
    code=(0x0000_0000, 512 * KIB),
    ram=(0x2000_0000, 512 * KIB),
)
_RV32IMC = Machine(
    board="virt",
    flags=("-march=rv32imc_zicsr", "-mabi=ilp32", "-mcmodel=medany", "-msmall-data-limit=0"),
    code=(0x8000_0000, 4 * MIB),
    ram=(0x8040_0000, 4 * MIB),
    qemu=("qemu-system-riscv32", "-bios", "none"),
    prefix="riscv64-unknown-elf-",
    harness="harness_riscv.c",
)

MACHINES: Mapping[str, Machine] = {
    "cortex-m0": _CORTEX_M0,
    "cortex-m0plus": _CORTEX_M0,
    "cortex-m3": _CORTEX_M3,
    "cortex-m4": _CORTEX_M4,
    "cortex-m4f": _CORTEX_M4,
    "cortex-m7": _CORTEX_M7,
    "cortex-m33": _CORTEX_M33,
    "cortex-m55": _CORTEX_M55,
    "cortex-m85": _CORTEX_M55,
    "rv32imc": _RV32IMC,
}
"""By core, in lower case, as target profiles name it."""

"""`Npu`: the Ethos-U of a device in the words of Vela, the compiler that writes its commands.

The names are those of Vela's `--accelerator-config` and of the file `Arm/vela.ini` that comes with
it. A system configuration there is generic, one for a class of systems: memories and their speed
beside the NPU's clock, not those of any board.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AcceleratorName = Literal[
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
]
SystemConfigName = Literal[
    "Ethos_U55_Deep_Embedded",
    "Ethos_U55_High_End_Embedded",
    "Ethos_U65_Embedded",
    "Ethos_U65_Mid_End",
    "Ethos_U65_High_End",
    "Ethos_U65_Client_Server",
    "Ethos_U85_SYS_Flash_Low",
    "Ethos_U85_SYS_Flash_High",
    "Ethos_U85_SYS_DRAM_Low",
    "Ethos_U85_SYS_DRAM_Mid",
    "Ethos_U85_SYS_DRAM_High",
]
MemoryModeName = Literal[
    "Sram_Only",
    "Shared_Sram",
    "Dedicated_Sram",
    "Dedicated_Sram_256KB",
    "Dedicated_Sram_384KB",
    "Dedicated_Sram_512KB",
]


@dataclass(frozen=True, slots=True)
class Npu:
    """What Vela compiles for; an accelerator's last number is its MACs a cycle."""

    accelerator: AcceleratorName
    system_config: SystemConfigName
    memory_mode: MemoryModeName


def npu_problem(accelerator: str, system_config: str) -> str | None:
    """Why the two do not belong together, or None: Vela itself takes any pair."""
    generation = accelerator.rpartition("-")[0]
    if system_config.lower().replace("_", "-").startswith(f"{generation}-"):
        return None
    prefix = generation.title().replace("-", "_")
    return (
        f"key 'npu.system_config': '{system_config}' is none for {accelerator}; "
        f"allowed: those that begin with {prefix}"
    )

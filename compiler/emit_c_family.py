"""`Family`: which kernels generated C is made of, by what the core can do."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping


class Family(enum.StrEnum):
    """Families of kernels that give the same bytes; the names are folders of c/."""

    PORTABLE = "portable"  # plain C, weights as int8
    DSP = "dsp"  # two products an instruction where the core has them; runs anywhere
    HELIUM = "helium"  # sixteen products an instruction where the core has them; runs anywhere


FAMILIES: Mapping[str, Family] = {
    "cortex-m4": Family.DSP,
    "cortex-m4f": Family.DSP,
    "cortex-m7": Family.DSP,
    "cortex-m33": Family.DSP,
    "cortex-m55": Family.HELIUM,
    "cortex-m85": Family.HELIUM,
}
"""By core, in lower case; every other core takes the portable family."""


def family_of_core(core: str) -> Family:
    """The family that is fastest on `core`, a name as target profiles have it."""
    return FAMILIES.get(core.lower(), Family.PORTABLE)


def family_of_files(names: Collection[str]) -> Family:
    """The family that C with files of these names is made of, where it shows.

    A model without a layer that a family has kernels for has the same files in all of them.
    """
    for family in (Family.DSP, Family.HELIUM):
        if any(name.startswith(f"ek_{family}") for name in names):
            return family
    return Family.PORTABLE

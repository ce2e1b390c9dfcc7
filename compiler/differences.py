"""What differs between a recorded certificate and what was seen here and now.

A difference is no failure: another processor or another version may give other steps within the
bounds. It is what to look at first where a bound broke.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgekiln.runtime.manifest import Manifest

from .parity import Certificate, EngineRow, cpu_flags, machine_name
from .provenance import version_here


@dataclass(frozen=True, slots=True)
class Difference:
    """One quantity, as it was recorded and as it is here."""

    quantity: str
    place: str
    recorded: str
    found: str

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.place}: {self.quantity} was {self.recorded}, is {self.found}"


def differences(
    manifest: Manifest,
    recorded: Certificate,
    golden: Sequence[EngineRow],
    again: Certificate | None,
) -> tuple[Difference, ...]:
    """Of machine, tools, engines and distances; `golden` rows and `again` were made here."""
    found = [*_machine(recorded), *_tools(manifest)]
    found += _rows(recorded.golden, golden, "golden vectors")
    if again is not None:
        found += _rows(recorded.engines, again.engines, "certificate samples")
        if again.first_diverging != recorded.first_diverging:
            found.append(
                Difference(
                    "first diverging layer",
                    "certificate samples",
                    recorded.first_diverging or "none",
                    again.first_diverging or "none",
                )
            )
    return tuple(dict.fromkeys(found))


def _machine(recorded: Certificate) -> Iterator[Difference]:
    if machine_name() != recorded.machine:
        yield Difference("machine", "this machine", recorded.machine, machine_name())
    here = cpu_flags()
    if here != recorded.cpu_flags:
        was, now = (" ".join(flags) or "none" for flags in (recorded.cpu_flags, here))
        yield Difference("CPU flags", "this machine", was, now)


def _tools(manifest: Manifest) -> Iterator[Difference]:
    for name, version in sorted(manifest.tools.items()):
        here = version_here(name)
        if here != version:
            yield Difference("version", name, version, here)


def _rows(
    recorded: Iterable[EngineRow], found: Iterable[EngineRow], samples: str
) -> Iterator[Difference]:
    """Engines that both have, by engine, format and kernels."""
    known = {(row.engine, row.format, row.kernels): row for row in recorded}
    for row in found:
        before = known.get((row.engine, row.format, row.kernels))
        if before is None:
            continue
        place = f"{row.engine} ({row.form}), {samples}"
        pairs = (
            ("engine version", before.version, row.version),
            ("largest difference", before.distance, row.distance),
            ("label flips", str(before.label_flips), str(row.label_flips)),
        )
        for quantity, was, now in pairs:
            if was != now:
                yield Difference(quantity, place, was, now)

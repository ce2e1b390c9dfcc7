"""Targets with the best numbers that can be had here and now: measured, emulated, or estimated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .errors import ProjectFileError

if TYPE_CHECKING:
    from edgekiln.targets import Budget, Target

    from .project import Project

TARGETS_FILE = "targets.json"


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Targets, and one sentence for each that could be known better with more tools."""

    targets: tuple[Target, ...]
    notes: tuple[str, ...]


def calibrated(
    targets: Sequence[Target],
    say: Callable[[str], None],
    seed: int = 0,
) -> Calibrated:
    """Measure what runs here (T3), emulate what can be emulated (T2), keep the rest as it is.

    A host whose own profile holds measurements of every engine (`targets calibrate -o`) keeps them.
    """
    from edgekiln.compiler.probes import calibrate

    known, notes = [], []
    for target in targets:
        if target.device_class == "host":
            known.append(_measured(target, say, target.formats, (), seed))
        elif target.device_class != "mcu":
            known.append(target)
        elif reason := _why_not_emulated(target):
            known.append(target)
            notes.append(
                f"{target.id} was not emulated here: {reason}; its numbers come from the cost "
                "tables of its profile"
            )
        elif _is_counted(target):
            say(f"{target.id}: the instructions of its kernels are known")
            known.append(target)
        else:
            say(f"{target.id}: counting instructions of probe models under emulation")
            known.append(calibrate(target, seed=seed))
    return Calibrated(tuple(known), tuple(notes))


def measured_hosts(
    targets: Sequence[Target],
    say: Callable[[str], None],
    ops: Collection[str],
    formats: Collection[str],
) -> tuple[Target, ...]:
    """`targets`, with what runs on this machine measured (T3): all that a compile needs to know,
    which emulates the very C that it makes.

    `ops` are the operators of the model at hand, `formats` those that were asked for, if any.
    """
    known = []
    for target in targets:
        asked = [fmt for fmt in target.all_formats if fmt in formats] or target.formats
        host = target.device_class == "host"
        known.append(_measured(target, say, asked, ops) if host else target)
    return tuple(known)


def _measured(
    target: Target,
    say: Callable[[str], None],
    formats: Sequence[str],
    ops: Collection[str],
    seed: int = 0,
) -> Target:
    from edgekiln.compiler.probes import calibrate

    if _is_measured(target, formats):
        say(f"{target.id}: measured before, the cost tables of its profile are used")
        return target
    say(f"{target.id}: measuring probe models on this machine")
    return calibrate(target, seed, ops, formats)


def known_targets(
    folder: Path, targets: Sequence[Target], say: Callable[[str], None]
) -> Calibrated:
    """What an earlier run in `folder` was priced with, else calibrated now and kept there.

    A search goes on with the numbers that it began with, so that it ends in the same result.
    """
    try:
        kept = load_targets(folder)
    except ProjectFileError as error:
        say(f"{error}, that is now")
        kept = None
    if kept is not None and [_identity(t) for t in kept.targets] == [_identity(t) for t in targets]:
        return kept
    known = calibrated(targets, say)
    save_targets(folder, known)
    return known


def _identity(target: Target) -> tuple[str, str, Budget]:
    return target.id, target.digest, target.budget


def _why_not_emulated(target: Target) -> str:
    """What keeps instructions of its generated C from being counted here and becoming time."""
    from edgekiln.targets.emulate import missing_tools
    from edgekiln.targets.machines import MACHINES

    if "c" not in target.formats:
        return "it runs no generated C"
    machine = MACHINES.get(target.core.lower())
    if machine is None:
        return f"its core '{target.core}' has no emulated board"
    if missing := missing_tools(machine.tools):
        return f"{', '.join(missing)} is not installed (make system)"
    if target.cycles_per_instruction is None:
        return "its profile states no cycles_per_instruction"
    return ""


def _is_measured(target: Target, formats: Sequence[str]) -> bool:
    """Whether the profile has a measured int8 table for each of `formats`."""
    from edgekiln.targets import Tier, engine_of

    measured = {t.engine for t in target.costs if t.dtype == "int8" and t.tier >= Tier.T3}
    return measured >= {engine_of(target, fmt) for fmt in formats}


def _is_counted(target: Target) -> bool:
    """Whether instructions of the core's kernels came with Edgekiln, or with the profile."""
    from edgekiln.targets import NoCostTableError, Tier
    from edgekiln.targets.estimate import strongest_table

    try:
        return strongest_table(target, "c", "int8").tier >= Tier.T2
    except NoCostTableError:
        return False


def save_targets(folder: Path, known: Calibrated) -> None:
    """Keep what a search was priced with, so that a compile of its result uses the same."""
    from edgekiln.runtime.files import write_atomic

    data = msgspec.json.format(msgspec.json.encode(known), indent=1)
    write_atomic(folder / TARGETS_FILE, data)


def load_targets(folder: Path) -> Calibrated | None:
    """What `save_targets` kept, or None.

    Raises:
        ProjectFileError: the file is there and cannot be read.
    """
    path = folder / TARGETS_FILE
    if not path.is_file():
        return None
    try:
        return _decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ProjectFileError(
            f"{path}: {error}; a search into this folder writes it anew"
        ) from error


def _decode(data: bytes) -> Calibrated:
    from edgekiln.targets import Target

    raw = msgspec.json.decode(data)
    if not isinstance(raw, dict) or "targets" not in raw:
        raise msgspec.ValidationError("no targets inside")
    targets = msgspec.convert(raw["targets"], tuple[Target, ...], strict=False)
    return Calibrated(targets, tuple(raw.get("notes", ())))


def budget_of(project: Project, target_id: str) -> Budget:
    """The budget that edgekiln.toml sets for a target; nothing set leaves the profile's."""
    from edgekiln.targets import Budget

    section = project.targets.get(target_id)
    if section is None:
        return Budget()
    return Budget(
        latency_ms=section.latency_ms,
        ram_bytes=section.ram_bytes,
        flash_bytes=section.flash_bytes,
    )

"""`edgekiln.toml`: the declarative file. Every command reads it, every flag overrides one key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from .errors import ProjectFileError

FILE_NAME = "edgekiln.toml"

Section = TypeVar("Section", bound=msgspec.Struct)


class DataSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where samples come from: `FILE.npz` (x, y) or `sklearn:NAME`."""

    source: str = ""
    seed: int = 0


class TargetSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A budget for one target; a limit left out stays at what the profile allows."""

    latency_ms: float | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None


class SearchSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much to explore."""

    candidates: int = 48
    workers: int = 2
    seed: int = 0
    deadline_s: float = 600.0
    out: str = "out/search"


class CompileSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a compile must keep."""

    max_accuracy_drop: float = 0.02
    min_accuracy: float = 0.0
    distil_epochs: int = 6
    seed: int = 0


class RolloutSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults of `edgekiln fleet rollout start`."""

    cohort: str = "all"
    waves: tuple[str, ...] = ("10%", "50%", "100%")
    soak_s: float = 600.0
    deadline_s: float = 3600.0


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    data: DataSection = DataSection()
    targets: dict[str, TargetSection] = msgspec.field(default_factory=dict)
    search: SearchSection = SearchSection()
    compile: CompileSection = CompileSection()
    rollout: RolloutSection = RolloutSection()
    profiles: tuple[str, ...] = ()  # folders with device profiles of your own


def load_project(path: Path | None) -> Project:
    """The given file, else `edgekiln.toml` here, else all defaults.

    Raises:
        ProjectFileError: a given file is missing, or a key is unknown or of the wrong type.
    """
    chosen = path if path is not None else Path(FILE_NAME)
    if not chosen.is_file():
        if path is None:
            return Project()
        raise ProjectFileError(f"{chosen}: no such file; 'edgekiln init' writes one")
    try:
        return msgspec.convert(tomllib.loads(chosen.read_text()), type=Project)
    except tomllib.TOMLDecodeError as error:
        raise ProjectFileError(f"{chosen}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ProjectFileError(f"{chosen}: not a text file") from error
    except msgspec.ValidationError as error:
        raise ProjectFileError(f"{chosen}: {error}") from error


def override(section: Section, **flags: object) -> Section:
    """The section with every flag that was given in place of its key."""
    given = {name: value for name, value in flags.items() if value is not None}
    return msgspec.structs.replace(section, **given)

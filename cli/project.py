"""`edgekiln.toml`: the declarative file. Every command reads it, every flag overrides one key."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from .errors import ProjectFileError

if TYPE_CHECKING:
    from edgekiln.compiler.data import Dataset
    from edgekiln.compiler.input_schema import InputSchema, Method

FILE_NAME = "edgekiln.toml"
PREPROCESSING = ("none", "unit", "standardize")  # on the command line; `affine` needs numbers

Section = TypeVar("Section", bound=msgspec.Struct)

Positive = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]


class DataSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where samples come from: `FILE.npz` (x, y) or `sklearn:NAME`."""

    source: str = ""
    seed: int = 0


class ContractSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sample is and how it is prepared for the model; the data tell what is left out.

    `offset` and `factor` are one number, or one for each channel: (x - offset) · factor.
    """

    kind: Literal["features", "image", "series"] | None = None
    name: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    preprocessing: Literal["none", "unit", "standardize", "affine"] | None = None
    offset: float | tuple[float, ...] = ()
    factor: float | tuple[float, ...] = ()


class TargetSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A budget for one target; a limit left out stays at what the profile allows."""

    latency_ms: Positive | None = None
    ram_bytes: Count | None = None
    flash_bytes: Count | None = None


class SearchSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much to explore."""

    candidates: Annotated[int, Meta(ge=2)] = 48
    workers: Count = 2
    seed: int = 0
    deadline_s: Positive = 600.0
    out: str = "out/search"


class CompileSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a compile must keep, and the file of its recipe (none: plain min-max)."""

    max_accuracy_drop: Share = 0.02
    min_accuracy: Share = 0.0
    distil_epochs: Count = 6
    seed: int = 0
    recipe: str = ""


class RolloutSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults of `edgekiln fleet rollout start`."""

    cohort: str = "all"
    waves: tuple[str, ...] = ("10%", "50%", "100%")
    soak_s: Seconds = 600.0
    deadline_s: Positive = 3600.0
    mirrors: tuple[str, ...] = ()
    shadow: str = ""  # share of answers that may differ, such as 5%; empty: no shadow phase
    window: str = ""  # of the day (UTC) in which devices may test, such as 22:00-04:00


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    data: DataSection = DataSection()
    contract: ContractSection = ContractSection()
    targets: dict[str, TargetSection] = msgspec.field(default_factory=dict)
    search: SearchSection = SearchSection()
    compile: CompileSection = CompileSection()
    rollout: RolloutSection = RolloutSection()
    profiles: tuple[str, ...] = ()  # folders with device profiles of your own


_TABLES: dict[str, type[msgspec.Struct]] = {
    "data": DataSection,
    "contract": ContractSection,
    "targets": TargetSection,
    "search": SearchSection,
    "compile": CompileSection,
    "rollout": RolloutSection,
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def load_project(path: Path | None) -> Project:
    """The given file, else `edgekiln.toml` here, else all defaults.

    Paths inside the file are relative to its folder; in what is returned they are relative to here.

    Raises:
        ProjectFileError: a given file is missing, or a key is unknown or of the wrong type.
        OSError: it cannot be read.
    """
    chosen = path if path is not None else Path(FILE_NAME)
    if path is None and not chosen.exists():
        return Project()
    try:
        project = msgspec.convert(tomllib.loads(chosen.read_text(encoding="utf-8")), type=Project)
    except FileNotFoundError as error:
        raise ProjectFileError(f"{chosen}: no such file; 'edgekiln init' writes one") from error
    except tomllib.TOMLDecodeError as error:
        raise ProjectFileError(f"{chosen}: not TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ProjectFileError(f"{chosen}: not a text file") from error
    except msgspec.ValidationError as error:
        raise ProjectFileError(f"{chosen}: {_explain(str(error))}") from error
    return _from_here(project, chosen.parent)


def data_source(flag: str | None, project: Project) -> str:
    """The source that was given, else the file's.

    Raises:
        ProjectFileError: neither names one.
    """
    if not (source := flag or project.data.source):
        raise ProjectFileError(
            "no data: give --data FILE.npz or sklearn:NAME, or set [data] source in edgekiln.toml"
        )
    return source


def open_dataset(source: str, project: Project, preprocessing: Method | None = None) -> Dataset:
    """The data as the file says what they are; `preprocessing` of the command line goes before.

    Raises what `load_dataset` does.
    """
    from edgekiln.compiler.data import load_dataset

    return load_dataset(source, project.data.seed, _input_schema(project.contract, preprocessing))


def _input_schema(section: ContractSection, preprocessing: Method | None) -> InputSchema:
    from edgekiln.compiler.input_schema import InputSchema

    return InputSchema(
        kind=section.kind,
        name=section.name,
        unit=section.unit,
        minimum=section.minimum,
        maximum=section.maximum,
        preprocessing=preprocessing or section.preprocessing,
        offset=_numbers(section.offset) if preprocessing is None else (),
        factor=_numbers(section.factor) if preprocessing is None else (),
    )


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def override(section: Section, **flags: object) -> Section:
    """The section with every flag that was given in place of its key."""
    given = {name: value for name, value in flags.items() if value is not None}
    return msgspec.structs.replace(section, **given)


def _from_here(project: Project, folder: Path) -> Project:
    replace = msgspec.structs.replace
    data, search, chosen = project.data, project.search, project.compile
    if data.source and not data.source.startswith("sklearn:"):
        data = replace(data, source=str(folder / data.source))
    if chosen.recipe:
        chosen = replace(chosen, recipe=str(folder / chosen.recipe))
    return replace(
        project,
        data=data,
        compile=chosen,
        search=replace(search, out=str(folder / search.out)),
        profiles=tuple(str(folder / name) for name in project.profiles),
    )


def _explain(message: str) -> str:
    """What msgspec says of a wrong value, in the words of the file."""
    problem, _, place = message.partition(" - at `$.")
    table, _, key = place.rstrip("`").replace("[...]", "").partition(".")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", problem):
        return _unknown(table, unknown[1])
    where = f"[{table}{'.NAME' if table == 'targets' else ''}] {key}" if key else table
    said = re.sub(r"`(\w+)(?: \| null)?`", lambda kind: _WORDS.get(kind[1], kind[1]), problem)
    return f"{where}: {said[0].lower()}{said[1:]}"


def _unknown(table: str, key: str) -> str:
    kind = _TABLES.get(table, Project)
    known = kind.__struct_fields__
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    place = f"[{table}{'.NAME' if table == 'targets' else ''}]" if table else "the file"
    return f"{place} has no key '{key}': {hint}it may have: {', '.join(known)}"


def profile_folders(project_file: Path | None) -> tuple[Path, ...]:
    """Folders with the user's own profiles, as edgekiln.toml names them."""
    return tuple(Path(folder) for folder in load_project(project_file).profiles)

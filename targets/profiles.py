"""The catalog: device profiles, one TOML file each, read strictly.

A profile `NAME.toml` describes the target with the id `NAME`. The ones that come with Edgekiln lie
in the folder `catalog/` beside this module (which is not called catalog.py, because mypy would
take the folder for it); a user's folders are looked through first, so a calibrated profile
replaces the one that it was made from. `extends = "CORE"` takes what devices with that core share
from `cores/CORE.toml`: every key that the profile lacks, evidence, and the cost tables of engines
and dtypes that it does not price itself.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from .core import Core, cost_table, cost_tables, read_core
from .core_costs import core_evidence, loops_bytes, loops_table
from .errors import ProfileError, UnknownTargetError
from .evidence import Budget, Tier
from .npu import Npu
from .profile_schema import ID, ID_TEXT, DeviceFile, device_problem, explain
from .target import CostTable, Evidence, Memory, Power, Runtime, Target

PROJECT_FILE = "edgekiln.toml"  # may lie beside profiles, and is none
BUILTIN_FOLDER = Path(__file__).with_name("catalog")

_SHARED = ("core", "runtime", "formats", "ops", "cycles_per_instruction")  # a core may give them
_NEAREST = 3  # names that an error suggests


def load_target(target_id: str, folders: Iterable[Path] = ()) -> Target:
    """The target of that id, from the user's `folders` where they have it, else a built-in one.

    Raises:
        UnknownTargetError: no such profile; names the nearest.
        ProfileError: the profile breaks the schema, or two of `folders` have it.
    """
    files = profile_files(folders)
    if target_id not in files:
        close = [f"'{name}'" for name in difflib.get_close_matches(target_id, files, n=_NEAREST)]
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        msg = (
            f"no target '{target_id}' in the catalog: {hint}"
            f"edgekiln targets list shows all {len(files)}"
        )
        raise UnknownTargetError(msg)
    return read_profile(files[target_id])


def list_targets(folders: Iterable[Path] = ()) -> tuple[Target, ...]:
    """Every target by id; a profile in `folders` replaces a built-in one of its id."""
    return tuple(read_profile(path) for _, path in sorted(profile_files(folders).items()))


def read_profile(path: Path) -> Target:
    """The target in one TOML file.

    `Target.digest` is the sha256 of the file's bytes, followed by those of the core that it
    extends and of the instructions of that core.

    Raises:
        ProfileError: the file cannot be read, is not TOML, or breaks the schema; the text names
            the file, the key and what the key may be.
    """
    try:
        data = path.read_bytes()
        document = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        msg = f"profile {path}: cannot be read: {error.strerror or error}"
        raise ProfileError(msg) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"profile {path}: not a TOML file: {error}"
        raise ProfileError(msg) from error
    try:
        core = _core_of(document)
        device = msgspec.convert(_with_core(document, core), DeviceFile)
    except msgspec.ValidationError as error:
        msg = f"profile {path}: {explain(str(error))}"
        raise ProfileError(msg) from error
    except ProfileError as error:
        raise ProfileError(f"profile {path}: {error}") from error
    problem = device_problem(device, path.stem)
    if problem is not None:
        msg = f"profile {path}: {problem}"
        raise ProfileError(msg)
    shared = core.data + loops_bytes(device.core) if core else b""
    return _target(device, core, hashlib.sha256(data + shared).hexdigest())


def check_profile_path(path: Path) -> None:
    """Refuse a name under which a profile would never be found.

    Raises:
        ProfileError: the file is not called ID.toml, or its folder is not there.
    """
    if path.suffix != ".toml" or not ID.fullmatch(path.stem):
        msg = f"{path}: a profile is a file ID.toml; an id has {ID_TEXT}"
        raise ProfileError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: there is no folder {path.parent}; make it first"
        raise ProfileError(msg)


def profile_files(folders: Iterable[Path] = ()) -> Mapping[str, Path]:
    """Profile path by target id; a user's own stand before a built-in one.

    Raises:
        ProfileError: a folder is not there, or two of them have one id: which one counts would be
            a guess.
    """
    files: dict[str, Path] = {}
    for folder in {folder.resolve(): folder for folder in folders}.values():
        if not folder.is_dir():
            msg = f"profile folder {folder} is not there; give a folder of *.toml profiles"
            raise ProfileError(msg)
        for path in _profiles_in(folder):
            if path.stem in files:
                both = f"{files[path.stem]} and {path}"
                raise ProfileError(f"target '{path.stem}' has two profiles, {both}; keep one")
            files[path.stem] = path
    for path in _profiles_in(BUILTIN_FOLDER):
        files.setdefault(path.stem, path)
    return files


def _profiles_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.toml")) if path.name != PROJECT_FILE]


def _core_of(document: Mapping[str, object]) -> Core | None:
    """The core that a profile extends; a name of another type is left to the schema."""
    name = document.get("extends")
    return read_core(name) if isinstance(name, str) else None


def _with_core(document: dict[str, Any], core: Core | None) -> dict[str, Any]:
    """The profile with every key of its core that it lacks, and the core's evidence."""
    if core is None:
        return document
    shared = {key: core.document[key] for key in _SHARED if key in core.document}
    merged = {**shared, **document}
    own = merged.get("evidence", [])
    if isinstance(own, list):
        named = [item.get("id") for item in own if isinstance(item, dict)]
        added = core.document.get("evidence", [])
        assert isinstance(added, list)
        merged["evidence"] = [*own, *(item for item in added if item["id"] not in named)]
    return merged


def _target(device: DeviceFile, core: Core | None, digest: str) -> Target:
    cpi = device.cycles_per_instruction
    costs = (*_shared_costs(device, core), *(cost_table(costs) for costs in device.costs))
    said = tuple(
        Evidence(item.id, Tier[item.tier], item.source, item.note) for item in device.evidence
    )
    counted = core_evidence(device.core) if core is not None else None
    return Target(
        id=device.id,
        title=device.title,
        device_class=device.device_class,
        core=device.core,
        clock_hz=device.clock_hz,
        memory=Memory(**msgspec.structs.asdict(device.memory)),
        runtime=Runtime(**msgspec.structs.asdict(device.runtime)),
        formats=device.formats,
        ops=dict(device.ops),
        costs=costs,
        budget=Budget(**msgspec.structs.asdict(device.budget)),
        evidence=said if counted is None or counted in said else (*said, counted),
        cycles_per_instruction=cpi,
        digest=digest,
        optional_formats=device.optional_formats,
        npu=Npu(**msgspec.structs.asdict(device.npu)) if device.npu is not None else None,
        power=_power(device),
    )


def _power(device: DeviceFile) -> Power | None:
    if device.power is None:
        return None
    tiers = {item.id: Tier[item.tier] for item in device.evidence}
    return Power(*device.power.active_mw, device.power.evidence, tiers[device.power.evidence])


def _shared_costs(device: DeviceFile, core: Core | None) -> tuple[CostTable, ...]:
    """The core's tables of engines and dtypes that the profile itself does not price."""
    if core is None:
        return ()
    own = {(costs.engine, costs.dtype) for costs in device.costs}
    tables = cost_tables(core, device.clock_hz, device.cycles_per_instruction)
    loops = loops_table(device.core, device.clock_hz, device.cycles_per_instruction)
    if loops is not None:  # says more than counts of work do, and so stands before them
        tables = (loops, *tables)
    return tuple(table for table in tables if (table.engine, table.dtype) not in own)

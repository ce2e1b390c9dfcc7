"""The catalog: device profiles, one TOML file each, read strictly.

A profile `NAME.toml` describes the target with the id `NAME`. The ones that come with Edgekiln lie
in the folder `catalog/` beside this module (which is not called catalog.py, because mypy would
take the folder for it); a user's folders are looked through first, so a calibrated profile
replaces the one that it was made from. Unknown keys are errors: a misspelt
limit must not be a limit that nobody checks.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from .engines import ENGINE_NAMES, ENGINES, EngineName
from .errors import ProfileError, UnknownTargetError
from .evidence import Budget, Tier
from .target import CostTable, Evidence, Memory, OpCost, Runtime, Target

PROJECT_FILE = "edgekiln.toml"  # may lie beside profiles, and is none
BUILTIN_FOLDER = Path(__file__).with_name("catalog")

DeviceClass = Literal["host", "linux", "mcu", "npu"]
Format = Literal["tflite", "onnx", "c"]
DTypeName = Literal["int8", "float32"]
TierName = Literal["T0", "T1", "T2", "T3", "T4"]

_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
_ALLOWED = {
    "class": "host, linux, mcu, npu",
    "formats": "tflite, onnx, c",
    "dtype": "int8, float32",
    "ops": "int8, float32",
    "tier": "T0, T1, T2, T3, T4",
    "interval": "leave-one-out, split",
    "engine": ", ".join(ENGINE_NAMES),
    "runtime.name": ", ".join(ENGINE_NAMES),
    "id": "lower-case letters, digits, '.' and '-'",
    "schema": "1",
}


class _Part(msgspec.Struct, forbid_unknown_fields=True):
    """Base of the file's tables."""


class _Memory(_Part):
    ram: int
    flash: int
    ram_reserved: int = 0
    flash_reserved: int = 0
    slots: int = 2


class _Runtime(_Part):
    name: EngineName
    version: str = ""
    ram_overhead: int = 0
    flash_overhead: int = 0


class _OpCost(_Part):
    per_call_us: float = 0.0
    ns_per_mac: float = 0.0
    ns_per_byte: float = 0.0
    ns_per_output: float = 0.0
    ns_per_im2col_byte: float = 0.0
    ns_per_tail_mac: float = 0.0
    loops: dict[str, float] = {}


class _Costs(_Part):
    ops: dict[str, _OpCost]
    engine: EngineName
    dtype: DTypeName
    tier: TierName
    evidence: str
    low_ratio: float
    high_ratio: float
    per_run_us: float = 0.0
    samples: int = 0
    heldout_median_ape: float | None = None
    interval: Literal["leave-one-out", "split"] = "leave-one-out"
    heldout_ratios: tuple[float, ...] = ()


class _Budget(_Part):
    latency_ms: float | None = None
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    energy_mj: float | None = None


class _Evidence(_Part):
    id: str
    tier: TierName
    source: str
    note: str = ""


class _Profile(_Part, rename={"device_class": "class"}):
    schema: Literal[1]
    id: str
    title: str
    device_class: DeviceClass
    core: str
    clock_hz: int
    memory: _Memory
    runtime: _Runtime
    formats: tuple[Format, ...]
    ops: dict[str, tuple[DTypeName, ...]]
    costs: tuple[_Costs, ...] = ()
    budget: _Budget = msgspec.field(default_factory=_Budget)
    evidence: tuple[_Evidence, ...] = ()
    cycles_per_instruction: tuple[float, float, float] | None = None


class _Instructions(_Part):
    """A file of `instructions/`: one table at one instruction a nanosecond."""

    schema: Literal[1]
    source: str
    costs: _Costs


_Schema = TypeVar("_Schema", bound=_Part)
_TABLES: dict[str, type[_Part]] = {
    "": _Profile,
    "memory": _Memory,
    "runtime": _Runtime,
    "costs": _Costs,
    "costs.ops": _OpCost,
    "budget": _Budget,
    "evidence": _Evidence,
}


def load_target(target_id: str, folders: Iterable[Path] = ()) -> Target:
    """The target of that id, from the first of `folders` that has it, else from the built-in ones.

    Raises:
        UnknownTargetError: no such profile; names those there are.
        ProfileError: the profile breaks the schema.
    """
    files = _profile_files(folders)
    if target_id not in files:
        close = difflib.get_close_matches(target_id, files, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        known = ", ".join(sorted(files))
        msg = f"no target '{target_id}' in the catalog: {hint}known targets: {known}"
        raise UnknownTargetError(msg)
    return read_profile(files[target_id])


def list_targets(folders: Iterable[Path] = ()) -> tuple[Target, ...]:
    """Every target by id; a profile in `folders` replaces a built-in one of its id."""
    return tuple(read_profile(path) for _, path in sorted(_profile_files(folders).items()))


def read_profile(path: Path) -> Target:
    """The target in one TOML file; `Target.digest` is the sha256 of the file's bytes.

    Raises:
        ProfileError: the file cannot be read, is not TOML, or breaks the schema; the text names
            the file, the key and what the key may be.
    """
    profile, data = _document(path, _Profile)
    problem = _problem(profile, path.stem)
    if problem is not None:
        msg = f"profile {path}: {problem}"
        raise ProfileError(msg)
    return _target(profile, hashlib.sha256(data).hexdigest())


def read_costs(path: Path) -> CostTable:
    """The one cost table of a file of `instructions/`. Raises ProfileError as `read_profile`."""
    return _cost_table(_document(path, _Instructions)[0].costs)


def check_profile_path(path: Path) -> None:
    """Refuse a name under which a profile would never be found.

    Raises:
        ProfileError: the file is not called ID.toml, or its folder is not there.
    """
    if path.suffix != ".toml" or not _ID.fullmatch(path.stem):
        msg = f"{path}: a profile is a file ID.toml; an id has {_ALLOWED['id']}"
        raise ProfileError(msg)
    if not path.parent.is_dir():
        msg = f"{path}: there is no folder {path.parent}; make it first"
        raise ProfileError(msg)


def _document(path: Path, schema: type[_Schema]) -> tuple[_Schema, bytes]:
    """A TOML file as `schema`, and its bytes."""
    try:
        data = path.read_bytes()
        return msgspec.convert(tomllib.loads(data.decode("utf-8")), schema), data
    except OSError as error:
        msg = f"profile {path}: cannot be read: {error.strerror or error}"
        raise ProfileError(msg) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"profile {path}: not a TOML file: {error}"
        raise ProfileError(msg) from error
    except msgspec.ValidationError as error:
        msg = f"profile {path}: {_explain(str(error))}"
        raise ProfileError(msg) from error


def _profile_files(folders: Iterable[Path]) -> dict[str, Path]:
    """Profile path by target id; earlier folders win, the built-in one comes last."""
    files: dict[str, Path] = {}
    for folder in (*folders, BUILTIN_FOLDER):
        if not folder.is_dir():
            msg = f"profile folder {folder} is not there; give a folder of *.toml profiles"
            raise ProfileError(msg)
        for path in sorted(folder.glob("*.toml")):
            if path.name != PROJECT_FILE:
                files.setdefault(path.stem, path)
    return files


def _explain(error: str) -> str:
    """msgspec's message with the path as a dotted key and the values that the key may have."""
    text, _, path = error.partition(" - at `$")
    key = re.sub(r"\[\.\.\.\]|\[\d+\]", "", path.rstrip("`").replace("key in ", "")).lstrip(".")
    if "unknown field" in text or "missing required field" in text:
        table = _TABLES.get(key)
        known = f"; it may have: {', '.join(_field_names(table))}" if table else ""
        return f"{text} in [{key or 'the top level'}]{known}"
    allowed = _ALLOWED.get(key) or _ALLOWED.get(key.rpartition(".")[2])
    return f"key '{key}': {text}" + (f"; allowed: {allowed}" if allowed else "")


def _field_names(table: type[_Part]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(table))


def _problem(profile: _Profile, stem: str) -> str | None:
    """The first rule that the types cannot say and the profile breaks, or None."""
    memory, known = profile.memory, {item.id for item in profile.evidence}
    cpi = profile.cycles_per_instruction
    engines = ENGINES[profile.device_class]
    foreign = [fmt for fmt in profile.formats if fmt not in engines]
    rules = (
        (_ID.fullmatch(profile.id), f"key 'id': allowed: {_ALLOWED['id']}"),
        (profile.id == stem, f"key 'id': '{profile.id}' must be the file's name, '{stem}'"),
        (
            profile.clock_hz > 0 or (profile.clock_hz == 0 and profile.device_class == "host"),
            "key 'clock_hz': must be above 0 (0, unknown, is for class host alone)",
        ),
        (profile.formats, f"key 'formats': empty; allowed: {_ALLOWED['formats']}"),
        (
            not foreign,
            f"key 'formats': no engine runs {', '.join(foreign)} on class "
            f"{profile.device_class}; allowed: {', '.join(engines)}",
        ),
        (memory.slots >= 1, "key 'memory.slots': must be 1 or more"),
        (
            0 <= memory.ram_reserved < memory.ram and 0 <= memory.flash_reserved < memory.flash,
            "table 'memory': the reserved bytes must be below ram and flash",
        ),
        (
            cpi is None or 0 < cpi[0] <= cpi[1] <= cpi[2] < math.inf,
            "key 'cycles_per_instruction': must be low <= value <= high, above 0",
        ),
    )
    broken = [text for holds, text in rules if not holds]
    broken += [text for costs in profile.costs for text in _cost_problems(costs, known)]
    return broken[0] if broken else None


def _cost_problems(costs: _Costs, known_evidence: set[str]) -> list[str]:
    place = f"costs '{costs.evidence}' ({costs.engine}, {costs.dtype})"
    problems = []
    if costs.evidence not in known_evidence:
        problems.append(f"{place}: no [[evidence]] of that id")
    if not 0 < costs.low_ratio <= 1 <= costs.high_ratio < math.inf:
        problems.append(f"{place}: needs 0 < low_ratio <= 1 <= high_ratio, finite")
    if not 0 <= costs.per_run_us < math.inf:
        problems.append(f"{place}: per_run_us must be 0 or more, finite")
    if any(ratio <= 0 for ratio in costs.heldout_ratios) or list(costs.heldout_ratios) != sorted(
        costs.heldout_ratios
    ):
        problems.append(f"{place}: heldout_ratios must rise and be above 0")
    for name, cost in costs.ops.items():
        *parts, loops = msgspec.structs.astuple(cost)
        parts += loops.values()
        if not all(0 <= part < math.inf for part in parts):
            problems.append(f"{place}: operator '{name}' has a cost that is negative or not finite")
    return problems


def _target(profile: _Profile, digest: str) -> Target:
    return Target(
        id=profile.id,
        title=profile.title,
        device_class=profile.device_class,
        core=profile.core,
        clock_hz=profile.clock_hz,
        memory=Memory(**msgspec.structs.asdict(profile.memory)),
        runtime=Runtime(**msgspec.structs.asdict(profile.runtime)),
        formats=profile.formats,
        ops=dict(profile.ops),
        costs=tuple(_cost_table(costs) for costs in profile.costs),
        budget=Budget(**msgspec.structs.asdict(profile.budget)),
        evidence=tuple(
            Evidence(item.id, Tier[item.tier], item.source, item.note) for item in profile.evidence
        ),
        cycles_per_instruction=profile.cycles_per_instruction,
        digest=digest,
    )


def _cost_table(costs: _Costs) -> CostTable:
    return CostTable(
        ops={name: OpCost(**msgspec.structs.asdict(cost)) for name, cost in costs.ops.items()},
        engine=costs.engine,
        dtype=costs.dtype,
        tier=Tier[costs.tier],
        evidence_id=costs.evidence,
        low_ratio=costs.low_ratio,
        high_ratio=costs.high_ratio,
        per_run_us=costs.per_run_us,
        samples=costs.samples,
        heldout_median_ape=costs.heldout_median_ape,
        interval=costs.interval,
        heldout_ratios=costs.heldout_ratios,
    )

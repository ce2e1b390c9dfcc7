"""Which artifact of a bundle a device runs, when nobody names one: a rule, and its reasons.

Of the artifacts for the wanted target and engine

1. those for a board are left out (no computer runs them), where the target's class is known,
2. those are left out that have no engine here: a package that is not installed, C that comes
   neither as a library for this machine nor meets a compiler,
3. those are left out whose engine the certificate says differed by more than its bound,
4. of the rest, those come first that the certificate vouches for on a processor like this one,
   then interpreters before C, int8 before other numbers, LiteRT before ONNX Runtime
   (`benchmarks/runtime_predict.py` prints what each takes), and `host` before other targets.

Where there is one artifact for the target and the engine, it is taken as it is: what is missing
then shows when it is opened, in the engine's own words.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .bundle import CERTIFICATE, Bundle
from .c_library import c_compiler, library_name
from .engines import FORMATS
from .errors import EngineError, MemberError
from .manifest import Artifact

ENGINE_OF = {fmt: engine for engine, fmt in FORMATS.items()}
PACKAGES = {"litert": "ai_edge_litert", "onnxruntime": "onnxruntime"}
# What the certificate calls the engines that this runtime runs.
_WITNESSES = {"litert": "litert-xnnpack", "onnxruntime": "onnxruntime", "c": "c-library"}
# Without it ONNX Runtime adds pairs of int8 products in 16 bits on x86, and they overflow.
_VNNI = ("avx512_vnni", "avx_vnni")
_X86 = ("x86_64", "amd64", "i686")
_NUMERICS = ("int8.v1", "int4w.v1", "int16x8.v1", "float32")
_ENGINES = tuple(FORMATS)


class EngineRow(msgspec.Struct, frozen=True):
    """What a certificate says of one engine."""

    engine: str
    passed: bool
    max_lsb: int | None = None


class Certificate(msgspec.Struct, frozen=True):
    """The part of `certificate.json` that a device reads."""

    engines: tuple[EngineRow, ...] = ()
    cpu_flags: tuple[str, ...] = ()

    def row(self, engine: str) -> EngineRow | None:
        """What it says of an engine of this runtime; None where it did not run."""
        witness = _WITNESSES[engine]
        return next((row for row in self.engines if row.engine == witness), None)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a device has to run models with."""

    engines: frozenset[str]  # whose packages are installed; C needs none
    architecture: str
    cpu_flags: frozenset[str]
    library: str  # name of a shared library that it loads
    has_compiler: bool

    @property
    def sums_int8_exactly(self) -> bool:
        """Whether ONNX Runtime's int8 products cannot overflow on this processor."""
        return self.architecture.lower() not in _X86 or bool(self.cpu_flags & set(_VNNI))


@dataclass(frozen=True, slots=True)
class Candidate:
    """An artifact with what the rule looks at."""

    artifact: Artifact
    files: frozenset[str]  # of an artifact of C, by name
    on_board: bool  # its target is of a class that runs no operating system

    @property
    def engine(self) -> str:
        """The engine that runs it here; its format where there is none."""
        return ENGINE_OF.get(self.artifact.format, self.artifact.format)

    def __str__(self) -> str:
        return f"{self.engine} ({self.artifact.numerics}, for {self.artifact.target})"


@dataclass(frozen=True, slots=True)
class Choice:
    """The artifact that was chosen, and why it and not another, in one line."""

    artifact: Artifact
    engine: str
    why: str


def choose(
    candidates: Sequence[Candidate], certificate: Certificate, machine: Machine, source: str
) -> Choice:
    """Apply the rule to at least one candidate; `source` names the bundle in errors.

    Raises:
        EngineError: no candidate can run here; says of each what it lacks.
    """
    if len(candidates) == 1 and not candidates[0].on_board:
        only = candidates[0]
        return Choice(only.artifact, only.engine, f"{only}: the bundle has nothing else")
    refused = {i: _refusal(c, certificate, machine) for i, c in enumerate(candidates)}
    left = [c for i, c in enumerate(candidates) if not refused[i]]
    reasons = [f"{candidates[i]} {reason}" for i, reason in refused.items() if reason]
    if not left:
        raise EngineError(f"{source}: nothing in it runs here: {'; '.join(reasons)}")
    ranked = sorted(left, key=lambda candidate: _rank(candidate, certificate, machine))
    best = ranked[0]
    reasons += [f"{c} {_second(best, c, certificate, machine)}" for c in ranked[1:]]
    vouched = _vouched(best, certificate, machine) or "is not in the certificate"
    return Choice(best.artifact, best.engine, "; ".join([f"{best} {vouched}", *reasons]))


def this_machine() -> Machine:
    """What this process can run models with; looks for packages and imports none."""
    found = (name for name, package in PACKAGES.items() if importlib.util.find_spec(package))
    return Machine(
        engines=frozenset((*found, "c")),
        architecture=platform.machine(),
        cpu_flags=_cpu_flags(),
        library=library_name(),
        has_compiler=c_compiler() is not None,
    )


def candidates_of(bundle: Bundle, target: str, engine: str) -> list[Candidate]:
    """The artifacts for `target` and `engine`, where they are named, else all.

    Raises:
        MemberError: there is none; says what there is.
        EngineError: there is no such engine.
    """
    if engine and engine not in FORMATS:
        raise EngineError(f"no engine '{engine}'; there are: {', '.join(FORMATS)}")
    fmt = FORMATS.get(engine, "")
    targets = {artifact.target for artifact in bundle.manifest.artifacts}
    fitting = [
        artifact
        for artifact in bundle.manifest.artifacts
        if target in ("", artifact.target) and fmt in ("", artifact.format)
    ]
    if not fitting:
        # Says what is missing; for one target where none was named.
        bundle.artifact(target or min(targets, default="host", key=_after_host), fmt)
    boards = set() if target else _boards({artifact.target for artifact in fitting})
    return [
        Candidate(artifact, _files(bundle, artifact), artifact.target in boards)
        for artifact in fitting
    ]


def certificate_of(bundle: Bundle) -> Certificate:
    """What `certificate.json` says; nothing where there is none.

    Raises:
        MemberError: it cannot be read.
    """
    data = bundle.members.get(CERTIFICATE)
    if data is None:
        return Certificate()
    try:
        return msgspec.json.decode(data, type=Certificate)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MemberError(f"{bundle.source}: {CERTIFICATE} cannot be read: {error}") from error


def _refusal(candidate: Candidate, certificate: Certificate, machine: Machine) -> str:
    """Why it cannot run here, or an empty string."""
    engine = candidate.engine
    if candidate.on_board:
        return "is for a board"
    if engine not in FORMATS:
        return "has no engine"
    if engine not in machine.engines:
        return "is not installed"
    if engine == "c" and machine.library not in candidate.files and not machine.has_compiler:
        return "has no library for this machine, and here is no C compiler"
    row = certificate.row(engine)
    if row is not None and not row.passed:
        return "differed by more than its bound, the certificate says"
    return ""


def _vouched(candidate: Candidate, certificate: Certificate, machine: Machine) -> str:
    """What the certificate says for it on a processor like this one, or an empty string."""
    row = certificate.row(candidate.engine)
    if row is None or _overflows(candidate, machine):
        return ""
    distance = "" if row.max_lsb is None else f" within {row.max_lsb} steps of the reference"
    return f"is certified{distance}"


def _overflows(candidate: Candidate, machine: Machine) -> bool:
    whole = candidate.engine == "onnxruntime" and candidate.artifact.numerics.startswith("int8")
    return whole and not machine.sums_int8_exactly


def _rank(
    candidate: Candidate, certificate: Certificate, machine: Machine
) -> tuple[bool, bool, int, int, bool, str]:
    target, numerics = candidate.artifact.target, candidate.artifact.numerics
    return (
        not _vouched(candidate, certificate, machine),
        candidate.engine == "c",
        _NUMERICS.index(numerics) if numerics in _NUMERICS else len(_NUMERICS),
        _ENGINES.index(candidate.engine),
        *_after_host(target),
    )


def _second(best: Candidate, other: Candidate, certificate: Certificate, machine: Machine) -> str:
    """Why `other` comes after `best`."""
    if _vouched(best, certificate, machine) and not _vouched(other, certificate, machine):
        if _overflows(other, machine):
            return "may overflow on this processor, which has no VNNI"
        return "is not in the certificate"
    if best.artifact.numerics != other.artifact.numerics and other.engine != "c":
        return "has numbers that come second"
    return "comes second" if best.engine != other.engine else "is for another device"


def _files(bundle: Bundle, artifact: Artifact) -> frozenset[str]:
    return frozenset(bundle.below(artifact.path)) if artifact.format == "c" else frozenset()


def _after_host(target: str) -> tuple[bool, str]:
    return target != "host", target


def _boards(targets: set[str]) -> set[str]:
    """Which of them run no operating system; a target that is in no catalog is not known to."""
    if targets == {"host"}:
        return set()
    from edgekiln.targets import TargetError, load_target

    found = set()
    for target in targets:
        try:
            if load_target(target).device_class in ("mcu", "npu"):
                found.add(target)
        except TargetError:
            continue
    return found


def _cpu_flags() -> frozenset[str]:
    """What Linux says that the processor can do; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return frozenset(next(lines, "").partition(":")[2].split())

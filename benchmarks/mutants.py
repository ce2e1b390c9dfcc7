"""Hostile files against every reader: each ends in a named error or is read, whatever it says.

Each file is read in a process of its own with a limit of memory and time, forked from a worker
that has loaded the libraries. A crash, a deadline, or an error of a class that no user is meant to
see is a fault. `python -m benchmarks.mutants KIND SEED` shows one mutant's end.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .figure import FULL, Figure, Scale
from .mutations import KINDS, mutant

FULL_FILES, QUICK_FILES = 3000, 150
DEADLINE_S = 10.0
MEMORY_BYTES = 1 << 30
WORKERS = 2


@dataclass(frozen=True)
class Ending:
    """How reading one mutant ended. `outcome` is `read`, `refused` or `fault`."""

    kind: str
    seed: int
    outcome: str
    detail: str
    wall_s: float
    rss_bytes: int


def run(scale: Scale) -> Iterator[Figure]:
    """Counts by kind and outcome, the slowest and the largest."""
    files = FULL_FILES if scale.samples >= FULL.samples else QUICK_FILES
    endings = read_mutants(files)
    for kind in KINDS:
        counts = Counter(ending.outcome for ending in endings if ending.kind == kind)
        yield Figure(f"{kind}: mutants", counts.total(), "files", "exact")
        yield Figure(f"{kind}: refused in one line", counts["refused"], "files", "exact")
        yield Figure(f"{kind}: read", counts["read"], "files", "exact")
        yield Figure(f"{kind}: faults", counts["fault"], "files", "exact", at_most=0)
    yield Figure("slowest", max(ending.wall_s for ending in endings), "s", at_most=DEADLINE_S)
    peak = max(ending.rss_bytes for ending in endings)
    yield Figure("peak RSS", peak / 2**20, "MiB", at_most=MEMORY_BYTES / 2**20)
    for ending in endings:
        if ending.outcome == "fault":
            print(f"{ending.kind} {ending.seed}: {ending.detail}", file=sys.stderr)


def read_mutants(files: int, models: Path | None = None) -> list[Ending]:
    """The endings of `files` mutants, the same number of each kind, in two workers."""
    jobs = [(kind, seed) for seed in range(files // len(KINDS)) for kind in KINDS]
    chunks = [jobs[index::WORKERS] for index in range(WORKERS)]
    with ThreadPoolExecutor(WORKERS) as pool:
        return [ending for part in pool.map(_in_worker, chunks) for ending in part]


def _in_worker(jobs: Sequence[tuple[str, int]]) -> list[Ending]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, "--worker"],
        input=msgspec.json.encode(jobs),
        capture_output=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"a worker ended: {done.stderr.decode(errors='replace')[-2000:]}")
    return msgspec.json.decode(done.stdout, type=list[Ending])


def _work(jobs: Iterable[tuple[str, int]]) -> list[Ending]:
    """Read each mutant in a fork; the first of each kind loads what the others need."""
    endings = []
    sound = {name: kind.sound(_models()) for name, kind in KINDS.items()}
    with tempfile.TemporaryDirectory(prefix="edgekiln-mutants-") as folder:
        for name, kind in KINDS.items():
            path = Path(folder) / f"sound{kind.suffix}"
            path.write_bytes(sound[name][0])
            read(path)
        for name, seed in jobs:
            path = Path(folder) / f"mutant{KINDS[name].suffix}"
            path.write_bytes(mutant(KINDS[name], sound[name], seed))
            outcome, detail, wall_s, rss_bytes = _read_in_fork(path)
            endings.append(Ending(name, seed, outcome, detail, wall_s, rss_bytes))
    return endings


def _models() -> Path | None:
    folder = Path(os.environ.get("EDGEKILN_DATA", "")) / "mlperf_tiny"
    return folder if folder.is_dir() else None


def _read_in_fork(path: Path) -> tuple[str, str, float, int]:
    started = time.monotonic()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _child(path, theirs)
    os.close(theirs)
    said, timed_out = _listen(ours, started + DEADLINE_S)
    if timed_out:
        os.kill(child, signal.SIGKILL)
    os.close(ours)
    _, status, usage = os.wait4(child, 0)
    wall_s, rss_bytes = time.monotonic() - started, usage.ru_maxrss * 1024
    if timed_out:
        return "fault", f"did not end within {DEADLINE_S} s", wall_s, rss_bytes
    if not said:
        return "fault", f"ended by wait status {status}", wall_s, rss_bytes
    outcome, _, detail = said.partition("\n")
    return outcome, detail, wall_s, rss_bytes


def _listen(pipe: int, deadline: float) -> tuple[str, bool]:
    """What the child says until it closes its end, and whether it was too late."""
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return "", True
        part = os.read(pipe, 65_536)
        if not part:
            return b"".join(parts).decode(errors="replace"), False
        parts.append(part)


def _child(path: Path, pipe: int) -> None:
    """Never returns."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries complain there
    try:
        os.write(pipe, judge(path).encode()[:4096])
    finally:
        os._exit(0)


def judge(path: Path) -> str:
    """`read`, `refused` or `fault`, a line break, and the error's text."""
    from edgekiln.compiler.errors import CompileError
    from edgekiln.runtime.errors import RuntimeRoomError

    try:
        read(path)
    except (CompileError, RuntimeRoomError) as error:
        text = str(error)
        one_line = text.isprintable() and len(text) < 6000
        return f"refused\n{text}" if one_line else f"fault\nnot one line: {text[:200]!r}"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return f"fault\n{type(error).__name__} at {place}: {str(error)[:200]}"
    return "read\n"


def read(path: Path) -> None:
    """Everything that looks into a file of that kind."""
    from edgekiln.compiler.importers import MODEL_SUFFIXES, import_model
    from edgekiln.compiler.inspect import describe
    from edgekiln.runtime.bundle import open_bundle

    if path.suffix == ".ekb":
        bundle = open_bundle(path)
        _ = bundle.contract
        bundle.golden()
        bundle.reference()
    describe(path)
    if path.suffix in MODEL_SUFFIXES:
        import_model(path)


def main(arguments: Sequence[str]) -> None:
    """`--worker` reads jobs from stdin; KIND SEED shows one mutant's end."""
    if arguments == ["--worker"]:
        jobs = msgspec.json.decode(sys.stdin.buffer.read(), type=list[tuple[str, int]])
        sys.stdout.buffer.write(msgspec.json.encode(_work(jobs)))
        return
    name, seed = arguments
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mutant{kind.suffix}"
        path.write_bytes(mutant(kind, kind.sound(_models()), int(seed)))
        print(judge(path))


if __name__ == "__main__":
    main(sys.argv[1:])

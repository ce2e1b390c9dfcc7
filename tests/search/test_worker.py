"""The pool outlives its workers."""

from __future__ import annotations

import errno
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from edgekiln.compiler.data import Dataset
from edgekiln.search.space import Block, BlockKind, ConvCandidate
from edgekiln.search.train import TrainingSet
from edgekiln.search.worker import (
    Answer,
    Done,
    Failed,
    Job,
    TrainJob,
    Unkept,
    WorkerPool,
    Workplace,
    _blame,
)

pytestmark = pytest.mark.slow

SMALL = ConvCandidate(4, 3, 2, ())
FOREVER = 1_000_000  # epochs
LATER_S = 120.0


@pytest.fixture
def workplace(bars: Dataset, tmp_path: Path) -> Workplace:
    TrainingSet.of(bars).save(tmp_path / "training.npz")
    return Workplace(tmp_path / "training.npz", (6, 6, 1), 3)


@pytest.fixture
def pool(workplace: Workplace) -> Iterator[WorkerPool]:
    with WorkerPool(workplace, 1, timeout_s=LATER_S) as pool:
        yield pool
    assert not multiprocessing.active_children()


def job(name: str, workplace: Workplace, epochs: int = 1) -> TrainJob:
    return TrainJob(name, SMALL, "short", epochs, 0, workplace.training_set.parent / f"{name}.npz")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LATER_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def answers(pool: WorkerPool, jobs: list[Job], seconds: float = LATER_S) -> dict[str, Answer]:
    found = pool.run(jobs, time.monotonic() + seconds)
    return {job.candidate_id: answer for job, answer in found}


def test_run_trains_and_saves(pool: WorkerPool, workplace: Workplace) -> None:
    result = answers(pool, [job("a", workplace), job("b", workplace)])
    assert all(isinstance(answer, Done) and answer.accuracy > 0.2 for answer in result.values())
    assert (workplace.training_set.parent / "a.npz").exists()
    assert set(result) == {"a", "b"}


def test_run_loses_only_the_job_when_a_worker_dies(pool: WorkerPool, workplace: Workplace) -> None:
    killer = threading.Thread(target=kill_when_busy, daemon=True)
    killer.start()
    result = answers(pool, [job("doomed", workplace, FOREVER), job("next", workplace)])
    killer.join()
    assert result["doomed"] == Failed("its worker ended with exit code -9")
    assert isinstance(result["next"], Done)


def kill_when_busy() -> None:
    """Kill the one worker once it has used two seconds of CPU: by then it trains."""
    child = psutil.Process(multiprocessing.active_children()[0].pid)
    wait_until(lambda: child.cpu_times().user > 2.0)
    child.kill()


def test_run_replaces_a_worker_that_died_idle(pool: WorkerPool, workplace: Workplace) -> None:
    child = multiprocessing.active_children()[0]
    child.kill()
    child.join()
    assert isinstance(answers(pool, [job("first", workplace)])["first"], Done)


def test_run_loses_only_the_job_when_it_takes_too_long(workplace: Workplace) -> None:
    with WorkerPool(workplace, 1, timeout_s=LATER_S) as warm:
        begun = time.monotonic()
        answers(warm, [job("warm", workplace)])
        patience = 3.0 + 3.0 * (time.monotonic() - begun)  # the machine may get busier
    with WorkerPool(workplace, 1, timeout_s=patience) as pool:
        result = answers(pool, [job("slow", workplace, FOREVER), job("quick", workplace)])
    assert result["slow"] == Failed(f"it took longer than {patience:g} s")
    assert isinstance(result["quick"], Done)


def test_run_names_the_error_when_a_job_fails(pool: WorkerPool, workplace: Workplace) -> None:
    broken = ConvCandidate(4, 3, 1, (Block(BlockKind.RESIDUAL, 8, 3),))  # 4 channels + 8 channels
    bad = TrainJob("bad", broken, "short", 1, 0, workplace.training_set.parent / "bad.npz")
    result = answers(pool, [bad, job("good", workplace)])
    assert isinstance(result["bad"], Failed)
    assert result["bad"].reason.startswith("RuntimeError: ")
    assert isinstance(result["good"], Done)


def test_run_blames_the_disk_and_not_the_candidate_when_a_result_cannot_be_kept() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "a.npz")
    assert _blame(full) == Unkept(errno.ENOSPC, "a.npz")
    assert _blame(FileNotFoundError(errno.ENOENT, "gone", "a.npz")) == Failed(
        "FileNotFoundError: [Errno 2] gone: 'a.npz'"
    )


def test_run_stops_training_when_the_time_is_up(pool: WorkerPool, workplace: Workplace) -> None:
    assert answers(pool, [job("endless", workplace, FOREVER)], seconds=0.5) == {}
    assert isinstance(answers(pool, [job("after", workplace)])["after"], Done)
    assert answers(pool, [job("never", workplace)], seconds=-1.0) == {}


def test_worker_module_loads_nothing_that_starts_threads() -> None:
    code = (
        "import sys, edgekiln.search.worker; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

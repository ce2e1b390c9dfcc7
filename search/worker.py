"""Worker processes that train and export, and the pool that survives them.

A worker that dies, fails or takes too long loses its job and nothing else: the pool starts another
one. Workers ignore Ctrl-C, which is the parent's to handle, and end when the parent is gone, since
then their pipe closes. Nothing heavy is imported above: the number of threads must be in the
environment before numpy and torch are.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from .space import Candidate

_POLL_S = 0.5
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES)
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(frozen=True, slots=True)
class TrainJob:
    """Train `candidate`; the weights go to `weights`."""

    candidate_id: str
    candidate: Candidate
    rung: str
    epochs: int
    seed: int
    weights: Path


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Write the candidate with its `weights` as a torch.export file at `path`."""

    candidate_id: str
    candidate: Candidate
    weights: Path
    path: Path


Job = TrainJob | ExportJob


@dataclass(frozen=True, slots=True)
class Done:
    """A job that ended well; `accuracy` is 0 for exports."""

    accuracy: float
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A job without result, and why, in one sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unkept:
    """A job whose result this machine could not keep: no fault of the candidate's."""

    code: int  # an errno
    path: str | None


Answer = Done | Failed


@dataclass(frozen=True, slots=True)
class Workplace:
    """What every worker of a search needs: the saved `TrainingSet` and the size of the problem."""

    training_set: Path
    input_shape: tuple[int, ...]
    classes: int


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    started: float = 0.0


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits: a child whose parent is interrupted while it starts reads half a message."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerPool:
    """Use as a context manager: leaving it, however that happens, ends every worker."""

    def __init__(
        self,
        workplace: Workplace,
        workers: int,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workplace = workplace
        self._timeout_s = timeout_s
        self._clock = clock
        self._context = multiprocessing.get_context("spawn")
        self._workers = [self._start() for _ in range(workers)]

    def run(self, jobs: Sequence[Job], until: float) -> Iterator[tuple[Job, Answer]]:
        """Answers as they come, in any order. Jobs not answered by the time `until` have none.

        Raises:
            OSError: a worker could not write a result, such as on a full disk.
        """
        waiting = deque(jobs)
        while self._clock() < until:
            self._hand_out(waiting)
            if not any(worker.job for worker in self._workers):
                return
            yield from self._collect(until)
        for index, worker in enumerate(self._workers):
            if worker.job is not None:
                self._replace(index)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            _stop(worker)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(theirs, self._workplace), name="edgekiln-search", daemon=True
        )
        with _uninterrupted():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _replace(self, index: int) -> None:
        _stop(self._workers[index])
        self._workers[index] = self._start()

    def _hand_out(self, waiting: deque[Job]) -> None:
        for index, worker in enumerate(self._workers):
            if worker.job is None and waiting:
                if not worker.process.is_alive():
                    self._replace(index)
                idle = self._workers[index]
                idle.job, idle.started = waiting.popleft(), self._clock()
                # One that died just now: collecting finds its pipe closed and says so.
                with contextlib.suppress(OSError):
                    idle.pipe.send(idle.job)

    def _collect(self, until: float) -> Iterator[tuple[Job, Answer]]:
        busy = [worker for worker in self._workers if worker.job]
        soonest = min(worker.started for worker in busy) + self._timeout_s
        pause = max(min(soonest, until) - self._clock(), 0.0)
        ready = wait([worker.pipe for worker in busy], min(pause, _POLL_S))
        for index, worker in enumerate(self._workers):
            job = worker.job
            if job is None:
                continue
            if worker.pipe in ready:
                answer = self._receive(index)
            elif self._clock() - worker.started >= self._timeout_s:
                self._replace(index)
                answer = Failed(f"it took longer than {self._timeout_s:g} s")
            else:
                continue
            worker.job = None
            if isinstance(answer, Unkept):
                raise OSError(answer.code, os.strerror(answer.code), answer.path)
            yield job, answer

    def _receive(self, index: int) -> Answer | Unkept:
        worker = self._workers[index]
        try:
            answer: Answer | Unkept = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(5.0)
            code = worker.process.exitcode
            self._replace(index)
            return Failed(f"its worker ended with exit code {code}")
        return answer


def work(pipe: Connection, workplace: Workplace) -> None:
    """A worker's life: one job after another until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(_ENVIRONMENT)
    from .perform import perform_with

    perform = perform_with(workplace)
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Answer | Unkept = perform(job)
        except Exception as error:  # whatever a candidate does wrong costs that candidate alone
            answer = _blame(error)
        try:
            pipe.send(answer)
        except OSError:
            return


def _blame(error: Exception) -> Failed | Unkept:
    """The candidate, unless the disk is at fault: that would cost one candidate after the other."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return Unkept(error.errno, error.filename)
    first = (str(error).strip().splitlines() or [""])[0]
    return Failed(f"{type(error).__name__}: {first}")


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.process.close()
    worker.pipe.close()

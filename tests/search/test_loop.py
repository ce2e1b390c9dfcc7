"""Whole searches: what they leave, and that no interruption changes it."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from edgekiln.compiler.data import Dataset
from edgekiln.compiler.importers import import_model
from edgekiln.search.errors import BudgetError, LedgerError, SearchError, TrainingError
from edgekiln.search.loop import run_search
from edgekiln.search.result import (
    BASELINE_ID,
    LONG,
    Effort,
    Rung,
    SearchRequest,
    SearchResult,
    read_result,
)
from edgekiln.targets import Budget, Target

pytestmark = pytest.mark.slow

NO_EFFORT = Effort(0.0, 0.0, 0.0, 0, 0)


def request(dataset: Dataset, out: Path, *targets: Target) -> SearchRequest:
    return SearchRequest(
        dataset=dataset,
        targets=targets,
        out=out,
        seed=3,
        candidates=8,
        short=Rung(1, 4),
        long=Rung(2, 2),
        teacher_epochs=1,
    )


def timeless(result: SearchResult) -> SearchResult:
    return msgspec.structs.replace(result, effort=NO_EFFORT)


@pytest.fixture(scope="module")
def whole(
    bars: Dataset, board: Target, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SearchResult, Path]:
    """One search that nothing interrupted, and its folder."""
    out = tmp_path_factory.mktemp("whole")
    return run_search(request(bars, out, board)), out


@pytest.fixture
def script(bars_path: Path, tmp_path: Path) -> Path:
    """The same search as a program; exit code 130 on Ctrl-C."""
    lines = f"""
        import sys
        from importlib import util
        from pathlib import Path

        def load(name, path):
            spec = util.spec_from_file_location(name, path)
            module = util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module

        def main():
            from edgekiln.compiler.data import load_dataset
            from edgekiln.search.loop import run_search
            tests = Path({str(Path(__file__).parent)!r})
            board = load("search_conftest", tests / "conftest.py").make_target()
            request = load("search_test_loop", tests / "test_loop.py").request
            dataset = load_dataset({str(bars_path)!r})
            say = lambda line: print(line, flush=True)
            run_search(request(dataset, Path(sys.argv[1]), board), say)

        if __name__ == "__main__":
            try:
                main()
            except KeyboardInterrupt:
                sys.exit(130)
        """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(lines))
    return path


def test_search_writes_front_teacher_and_result(
    whole: tuple[SearchResult, Path], bars: Dataset
) -> None:
    result, out = whole
    front = result.front("board")
    assert result.complete
    assert read_result(out / "search.json") == result
    assert front.chosen in [member.candidate_id for member in front.members]
    assert sum(record.score(LONG) is not None for record in result.candidates) == 2
    assert len(result.candidates) == 12  # eight sampled, four bred
    assert result.teacher is not None
    for path in (*(member.path for member in front.members), result.teacher.path):
        assert import_model(out / path).output.shape == (1, 3)
    assert result.effort.trainings == 7
    assert bars.test_openings == 0


def test_front_holds_nothing_that_is_beaten(whole: tuple[SearchResult, Path]) -> None:
    members = whole[0].front("board").members
    points = [
        (-m.accuracy, m.footprint.latency.high, m.footprint.ram.high, m.footprint.flash.high)
        for m in members
    ]
    for a in points:
        assert not any(b != a and all(x <= y for x, y in zip(b, a, strict=True)) for b in points)


def test_search_again_pays_for_nothing(
    whole: tuple[SearchResult, Path], bars: Dataset, board: Target
) -> None:
    result, out = whole
    lines = (out / "ledger.jsonl").read_bytes()
    assert timeless(run_search(request(bars, out, board))) == timeless(result)
    assert (out / "ledger.jsonl").read_bytes() == lines


@pytest.mark.parametrize("stop_at", ["sieve", "short", "long", "export"])
def test_search_ends_the_same_when_interrupted(
    whole: tuple[SearchResult, Path], bars: Dataset, board: Target, folder: Path, stop_at: str
) -> None:
    def interrupt(line: str) -> None:
        if line.startswith(stop_at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(request(bars, folder, board), interrupt)
    assert not multiprocessing.active_children()
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes() + b'{"type":"trained","candidate_id":"torn')
    assert timeless(run_search(request(bars, folder, board))) == timeless(whole[0])


def test_search_ends_the_same_when_killed(
    whole: tuple[SearchResult, Path], bars: Dataset, board: Target, folder: Path, script: Path
) -> None:
    child = psutil.Popen([sys.executable, str(script), str(folder)], stdout=subprocess.PIPE)
    with child.stdout:
        assert any(line.startswith(b"short") for line in child.stdout)
        workers = child.children(recursive=True)
        child.kill()
    child.wait()
    gone, alive = psutil.wait_procs(workers, timeout=30)
    assert len(gone) >= 2
    assert not alive
    assert timeless(run_search(request(bars, folder, board))) == timeless(whole[0])


def test_ctrl_c_ends_the_workers_and_keeps_the_ledger(folder: Path, script: Path) -> None:
    child = psutil.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, start_new_session=True
    )
    with child.stdout:
        assert any(line.startswith(b"short") for line in child.stdout)
        workers = child.children(recursive=True)
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: the whole group
        assert child.wait(30) == 130
    assert not psutil.wait_procs(workers, timeout=30)[1]
    assert (folder / "ledger.jsonl").read_bytes().count(b'"trained"') >= 1


def test_search_goes_on_when_a_worker_dies(bars: Dataset, board: Target, folder: Path) -> None:
    killed: list[int] = []

    def kill_one(line: str) -> None:
        if line.startswith("short") and not killed:
            for child in multiprocessing.active_children():
                killed.append(child.pid or 0)
                child.kill()

    result = run_search(request(bars, folder, board), kill_one)
    lost = [record for record in result.candidates if record.lost]
    assert len(killed) == 2
    assert len(lost) == result.effort.lost <= 2
    assert all("exit code -9" in record.lost for record in lost)
    assert result.front("board").chosen is not None


def test_search_answers_in_time_when_the_deadline_is_short(
    bars: Dataset, board: Target, folder: Path
) -> None:
    endless = dataclasses.replace(
        request(bars, folder, board), deadline_s=8.0, long=Rung(1_000_000, 2)
    )
    begun = time.monotonic()
    result = run_search(endless)
    assert time.monotonic() - begun < 30.0  # exports of what is there come after the deadline
    assert not result.complete
    assert result.front("board").chosen is not None


def test_search_goes_on_when_the_deadline_is_extended(
    whole: tuple[SearchResult, Path], bars: Dataset, board: Target, folder: Path
) -> None:
    short_trainings = 0

    def now() -> float:
        return 1000.0 * (short_trainings >= 4)  # the deadline passes with the short rung

    def count(line: str) -> None:
        nonlocal short_trainings
        short_trainings += line.startswith("short")

    cut = run_search(request(bars, folder, board), count, now)
    assert not cut.complete
    assert {member.rung for member in cut.front("board").members} == {"short"}
    again = run_search(request(bars, folder, board))
    assert timeless(again) == timeless(whole[0])
    for member in again.front("board").members:
        same = [import_model(root / member.path) for root in (folder, whole[1])]
        pairs = zip(same[0].values.values(), same[1].values.values(), strict=True)
        assert all(np.array_equal(a.data, b.data) for a, b in pairs if a.data is not None)


def test_search_answers_with_the_baseline_when_there_is_no_time(
    bars: Dataset, board: Target, folder: Path
) -> None:
    result = run_search(dataclasses.replace(request(bars, folder, board), deadline_s=0.01))
    assert result.front("board").chosen == BASELINE_ID
    assert not result.complete
    assert (folder / "candidates" / f"{BASELINE_ID}.pt2").exists()


def test_search_refuses_in_one_line_when_no_candidate_keeps_a_budget(
    bars: Dataset, target_maker: Callable[..., Target], folder: Path
) -> None:
    tight = target_maker("tight", Budget(flash_bytes=100, latency_ms=1e-6))
    with pytest.raises(BudgetError, match=r"the nearest on tight: latency .*%.*flash") as error:
        run_search(request(bars, folder, target_maker("wide"), tight))
    assert "\n" not in str(error.value)
    assert "on wide" not in str(error.value)
    assert not (folder / "search.json").exists()


def test_search_serves_a_tight_target_beside_a_roomy_one(
    bars: Dataset, board: Target, target_maker: Callable[..., Target], folder: Path
) -> None:
    tight = target_maker("tight", Budget(flash_bytes=3_000))
    result = run_search(request(bars, folder, board, tight))
    trained = [record for record in result.candidates if record.score(LONG) is not None]
    assert any(not record.costs[1].reasons for record in trained)
    members = result.front("tight").members
    assert all(member.footprint.flash.high <= 3_000 for member in members)


def test_search_refuses_when_the_folder_holds_another(
    whole: tuple[SearchResult, Path], bars: Dataset, board: Target
) -> None:
    with pytest.raises(LedgerError, match="holds another search"):
        run_search(dataclasses.replace(request(bars, whole[1], board), seed=4))


def test_search_reports_the_reason_when_every_training_fails(
    bars: Dataset, board: Target, folder: Path
) -> None:
    impatient = dataclasses.replace(request(bars, folder, board), trial_timeout_s=0.001)
    with pytest.raises(TrainingError, match=r"every training failed.*longer than 0.001 s"):
        run_search(impatient)


def test_search_covers_flat_inputs(blobs: Dataset, board: Target, folder: Path) -> None:
    result = run_search(request(blobs, folder, board))
    assert result.front("board").chosen is not None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"workers": 0}, "one worker"),
        ({"long": Rung(2, 9)}, "9 long trainings"),
        ({"deadline_s": 0.0}, "above 0 s"),
    ],
)
def test_request_is_refused_when_a_number_makes_no_sense(
    bars: Dataset, board: Target, folder: Path, change: dict[str, object], reason: str
) -> None:
    wrong = dataclasses.replace(request(bars, folder, board), **change)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match=reason):
        run_search(wrong)
    assert not folder.exists()


def test_read_result_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no such file"):
        read_result(tmp_path / "search.json")
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(SearchError, match="no search result"):
        read_result(tmp_path / "search.json")

"""The journal of a calibration: nothing lost, nothing foreign taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekiln.targets import MeasurementError
from edgekiln.targets.calibration_journal import CalibrationJournal


def test_figures_come_back_when_a_journal_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "host.jsonl"
    CalibrationJournal(path, "host, seed 0").append("tflite, probe 3", (1.5, 2.0))
    again = CalibrationJournal(path, "host, seed 0")
    assert again.figures("tflite, probe 3") == (1.5, 2.0)
    assert again.figures("onnx, probe 3") is None


@pytest.mark.parametrize("lost", range(1, 40, 7))
def test_torn_last_line_is_cut_off_when_a_journal_is_opened_again(
    tmp_path: Path, lost: int
) -> None:
    path = tmp_path / "host.jsonl"
    first = CalibrationJournal(path, "host")
    first.append("one", (1.0,))
    whole = path.stat().st_size
    first.append("two", (2.0,))
    path.write_bytes(path.read_bytes()[: max(whole, path.stat().st_size - lost)])
    again = CalibrationJournal(path, "host")
    assert (again.figures("one"), again.figures("two")) == ((1.0,), None)
    again.append("two", (3.0,))
    assert CalibrationJournal(path, "host").figures("two") == (3.0,)


def test_journal_of_another_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "host.jsonl"
    CalibrationJournal(path, "host, LiteRT 2.1")
    with pytest.raises(MeasurementError, match=r"holds host, LiteRT 2.1, this is host, LiteRT 2.2"):
        CalibrationJournal(path, "host, LiteRT 2.2")


def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "host.jsonl"
    CalibrationJournal(path, "host").append("one", (1.0,))
    path.write_bytes(path.read_bytes().replace(b"[1.0]", b"[1.0"))
    with pytest.raises(MeasurementError, match="line 2 is damaged"):
        CalibrationJournal(path, "host")


def test_journal_that_cannot_be_written_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"No such file.*name another"):
        CalibrationJournal(tmp_path / "nowhere" / "host.jsonl", "host")


def test_nothing_is_written_when_there_is_no_path() -> None:
    journal = CalibrationJournal(None, "host")
    journal.append("one", (1.0,))
    assert journal.figures("one") == (1.0,)

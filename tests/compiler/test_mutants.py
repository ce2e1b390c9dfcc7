"""Hostile model files and bundles: each is read or refused in one line, in time and memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.mutants import DEADLINE_S, MEMORY_BYTES, judge, read_mutants
from benchmarks.mutations import KINDS, mutant


def check_endings(files: int) -> Counter[tuple[str, str]]:
    endings = read_mutants(files)
    faults = [
        f"{ending.kind} {ending.seed}: {ending.detail}"
        for ending in endings
        if ending.outcome == "fault"
    ]
    assert faults == []
    assert len(endings) == files
    assert max(ending.wall_s for ending in endings) < DEADLINE_S
    assert max(ending.rss_bytes for ending in endings) < MEMORY_BYTES
    return Counter((ending.kind, ending.outcome) for ending in endings)


@pytest.mark.slow
def test_every_file_is_read_or_refused_when_a_few_are_hostile() -> None:
    counts = check_endings(150)
    assert all(counts[kind, "refused"] >= 25 for kind in KINDS)


@pytest.mark.slow
def test_every_file_is_read_or_refused_when_three_thousand_are_hostile() -> None:
    counts = check_endings(3000)
    assert all(counts[kind, "refused"] > 600 and counts[kind, "read"] > 20 for kind in KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_sound_files_are_read_and_mutants_repeat(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    sound = kind.sound(None)
    for data in sound:
        path = tmp_path / f"sound{kind.suffix}"
        path.write_bytes(data)
        assert judge(path) == "read\n"
    for seed in range(6):
        assert mutant(kind, sound, seed) == mutant(kind, sound, seed)
    assert len({mutant(kind, sound, seed) for seed in range(6)}) == 6


def test_fault_is_told_when_a_reader_raises_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise KeyError(path.name)

    monkeypatch.setattr("benchmarks.mutants.read", broken)
    assert judge(tmp_path / "m.tflite").startswith("fault\nKeyError at test_mutants.py:")

"""The ledger survives a cut at any byte and refuses what it cannot trust."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekiln.search.errors import LedgerError
from edgekiln.search.ledger import Ledger, Lost, Trained, parse

EVENTS = (
    Trained("aaaaaaaaaaaa", "short", 4, 0.75, "aaaaaaaaaaaa-short.npz", 0.5, 0.5),
    Lost("bbbbbbbbbbbb", "short", "the worker ended with exit code -9"),
    Trained("aaaaaaaaaaaa", "long", 16, 0.96875, "aaaaaaaaaaaa-long.npz", 1.5, 1.5),
)


def write(path: Path) -> bytes:
    with Ledger.open(path, "search") as ledger:
        for event in EVENTS:
            ledger.append(event)
    return path.read_bytes()


def test_outcomes_return_when_reopened(tmp_path: Path) -> None:
    write(tmp_path / "ledger.jsonl")
    with Ledger.open(tmp_path / "ledger.jsonl", "search") as ledger:
        assert ledger.outcomes() == EVENTS
        assert ledger.outcome("aaaaaaaaaaaa", "long") == EVENTS[2]
        assert ledger.outcome("bbbbbbbbbbbb", "long") is None


def test_whole_lines_survive_when_cut_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    whole = write(path)
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        survivors = max(whole[:cut].count(b"\n") - 1, 0)
        with Ledger.open(path, "search") as ledger:
            assert ledger.outcomes() == EVENTS[:survivors]
            for event in EVENTS[survivors:]:
                ledger.append(event)
        assert path.read_bytes() == whole


def test_open_refuses_when_the_search_is_another(tmp_path: Path) -> None:
    write(tmp_path / "ledger.jsonl")
    with pytest.raises(LedgerError, match="another search"):
        Ledger.open(tmp_path / "ledger.jsonl", "other")


def test_parse_names_the_line_when_a_whole_line_is_damaged(tmp_path: Path) -> None:
    whole = write(tmp_path / "ledger.jsonl").replace(b"-9", b"\x00\xff")
    with pytest.raises(LedgerError, match="line 3 of the ledger is damaged"):
        parse(whole)


def test_open_refuses_when_another_search_is_running(tmp_path: Path) -> None:
    with (
        Ledger.open(tmp_path / "ledger.jsonl", "search"),
        pytest.raises(LedgerError, match="another search is running"),
    ):
        Ledger.open(tmp_path / "ledger.jsonl", "search")
    write(tmp_path / "ledger.jsonl")

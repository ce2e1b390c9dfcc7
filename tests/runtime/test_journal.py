"""The journal: torn at every byte, it still tells the last record that was acknowledged."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.errors import JournalError
from edgekiln.runtime.journal import Journal, encode_line, last_record
from edgekiln.runtime.protocol import DeviceState
from edgekiln.runtime.record import AgentRecord, Slot

SLOT = Slot(bundle_id="a" * 64, sha256="b" * 64, bytes=9, security_counter=2)


def records(count: int) -> list[AgentRecord]:
    return [AgentRecord(steps=n, last_known_good=SLOT, reason="é\n") for n in range(count)]


def test_journal_returns_the_last_record_when_reopened(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.record is None
    assert not journal.damaged
    for record in records(5):
        journal.append(record)
    assert Journal(tmp_path / "journal.jsonl").record == records(5)[-1]


def test_journal_survives_a_tear_at_every_byte(tmp_path: Path) -> None:
    lines = [encode_line(record) for record in records(3)]
    data = b"".join(lines)
    ends = [len(b"".join(lines[:n])) for n in range(4)]
    path = tmp_path / "journal.jsonl"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends) - 1
        journal = Journal(path)
        assert journal.record == (records(3)[whole - 1] if whole else None)
        assert not journal.damaged
        after = AgentRecord(state=DeviceState.COMMITTED, steps=99)
        journal.append(after)
        assert Journal(path).record == after
        assert path.read_bytes() == b"".join(lines[:whole]) + encode_line(after)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=40))
def test_last_record_is_one_that_was_written_when_bytes_are_overwritten(
    at: int, noise: bytes
) -> None:
    written = records(4)
    data = bytearray(b"".join(encode_line(record) for record in written))
    at %= len(data)
    data[at : at + len(noise)] = noise
    found, end = last_record(bytes(data))
    assert found is None or found in written
    assert end <= len(data)


def test_journal_puts_the_file_aside_when_no_line_checks(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"rubbish\nmore rubbish\n")
    journal = Journal(path)
    assert journal.record is None
    assert journal.damaged
    assert (tmp_path / "journal.jsonl.damaged").read_bytes() == b"rubbish\nmore rubbish\n"
    journal.append(AgentRecord(steps=1))
    assert Journal(path).record == AgentRecord(steps=1)


def test_journal_begins_anew_when_the_disk_has_lost_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(AgentRecord(steps=1))

    def lost(_: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lost)
        journal = Journal(path)
    assert (journal.record, journal.damaged) == (None, True)
    journal.append(AgentRecord(steps=2))
    assert Journal(path).record == AgentRecord(steps=2)


def test_journal_stays_small_when_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, compact_bytes=4000)
    for record in records(60):
        journal.append(record)
        assert path.stat().st_size <= 4000
        assert Journal(path).record == record


def test_append_keeps_the_record_before_it_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    first, second = records(2)
    journal.append(first)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(JournalError, match="No space left"):
            journal.append(second)
    assert journal.record == first
    journal.append(second)
    assert Journal(path).record == second
    assert path.read_bytes() == encode_line(first) + encode_line(second)


def test_journal_refuses_in_one_line_when_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(JournalError, match=r"journal\.jsonl cannot be read"):
        Journal(tmp_path / "journal.jsonl")


def test_journal_of_the_first_version_is_read_for_ever(tmp_path: Path) -> None:
    """A device in the middle of an update goes on when its runtime is replaced."""
    lines = (Path(__file__).parent / "vectors" / "journal-1.jsonl").read_bytes().splitlines(True)
    for line, state in zip(lines, ("FETCHING", "SELF_TEST", "TRIAL", "COMMITTED"), strict=True):
        path = tmp_path / f"{state}.jsonl"
        path.write_bytes(line)
        journal = Journal(path)
        record = journal.record
        assert record is not None
        assert record.state == DeviceState(state)
        assert (journal.damaged, journal.newer, record.soaking) == (False, False, False)
        assert record.last_known_good is not None
        assert record.last_known_good.bundle_id == ("a" if state == "COMMITTED" else "f") * 64
        assert record.release is not None
        assert (record.release.mirrors, record.release.deltas) == ((), ())
        assert (record.floor, record.version_of("r1")) == (2 if state == "COMMITTED" else 1, 3)
        journal.append(record)
        assert Journal(path).record == record

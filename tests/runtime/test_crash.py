"""Power cuts behind every change, failing disks, `kill -9`: `benchmarks/runtime_crash.py`, in part.

`python -m benchmarks runtime_crash` cuts everywhere; here every so many changes. Watching what goes
to disk needs gcc and the dynamic linker of Linux.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.crash_disk import Disk, Image, Loss, boundaries
from benchmarks.crash_kills import kill_at_random
from benchmarks.crash_lives import Tally
from benchmarks.crash_trace import Change, Kind, run_watched

TIMEOUT_S = 280.0
ROOT = Path("/disk")


def tallies(module: str, *arguments: str) -> Tally:
    total = Tally()
    for tally in json.loads(run_watched(module, arguments, TIMEOUT_S)).values():
        total.add(Tally(**tally))
    return total


def assert_survived(tally: Tally, at_least: int) -> None:
    assert not tally.details, "\n".join(tally.details[:3])
    assert (tally.no_model, tally.unverified, tally.astray) == (0, 0, 0)
    assert tally.points >= at_least


@pytest.fixture
def watched(require_tool: Callable[[str], str]) -> Callable[..., Tally]:
    if not sys.platform.startswith("linux"):
        pytest.skip("needs a dynamic linker that preloads")
    require_tool("gcc")
    return tallies


@pytest.mark.slow
def test_device_comes_to_the_right_end_when_power_is_cut(watched: Callable[..., Tally]) -> None:
    found = watched("benchmarks.crash_lives", "--stride=11", "--again=3")
    assert_survived(found, at_least=300)


@pytest.mark.slow
def test_device_with_a_real_model_comes_to_the_right_end_when_power_is_cut(
    watched: Callable[..., Tally],
) -> None:
    assert_survived(watched("benchmarks.crash_real", "--stride=25"), at_least=25)


@pytest.mark.slow
def test_device_that_never_syncs_does_not_pass(watched: Callable[..., Tally]) -> None:
    found = watched("benchmarks.crash_lives", "--stride=30", "--only=aborted", "--never-sync")
    assert found.astray > 0
    assert "told as committed, and not running" in "".join(found.details)


@pytest.mark.slow
def test_device_runs_and_recovers_when_the_disk_is_full_read_only_or_fails_at_any_change(
    watched: Callable[..., Tally],
) -> None:
    assert_survived(watched("benchmarks.crash_faults", "--stride=17"), at_least=60)


@pytest.mark.slow
def test_real_process_comes_to_the_right_end_when_it_is_killed(
    require_tool: Callable[[str], str],
) -> None:
    require_tool("mosquitto")
    assert_survived(kill_at_random(6, seed=5), at_least=6)


# The model of the disk -----------------------------------------------------------------------


def opened(name: str, handle: int, is_new: bool = True) -> Change:
    return Change(Kind.OPEN, handle, int(is_new), b"/disk/" + name.encode(), b"")


def written(handle: int, data: bytes, offset: int = 0) -> Change:
    return Change(Kind.WRITE, handle, offset, b"", data)


def synced(handle: int) -> Change:
    return Change(Kind.FSYNC, handle, 0, b"", b"")


def renamed(old: str, new: str) -> Change:
    return Change(Kind.RENAME, -1, 0, f"/disk/{old}".encode(), f"/disk/{new}".encode())


ROOT_HANDLE = Change(Kind.OPEN, 9, 0, b"/disk", b"")
START = Image({"a": b"old"}, {}, frozenset())


def found_after(changes: list[Change], loss: Loss, seed: int = 0) -> dict[str, bytes]:
    disk = Disk(ROOT, START)
    for change in changes:
        disk.play(change)
    return disk.image(loss, random.Random(seed)).files


CAREFUL = [
    opened("t", 3), written(3, b"new"), synced(3), renamed("t", "a"), ROOT_HANDLE, synced(9),
]  # fmt: skip


@pytest.mark.parametrize("loss", list(Loss))
def test_disk_keeps_what_was_synced_and_named(loss: Loss) -> None:
    assert found_after(CAREFUL, loss) == {"a": b"new"}


def test_disk_loses_a_rename_when_the_folder_was_not_synced() -> None:
    assert found_after(CAREFUL[:4], Loss.LOST) == {"a": b"old"}
    assert found_after(CAREFUL[:4], Loss.KEPT) == {"a": b"new"}


def test_disk_empties_a_renamed_file_when_its_data_was_not_synced() -> None:
    hasty = [change for change in CAREFUL if change != synced(3)]
    assert found_after(hasty, Loss.LOST) == {"a": b""}


def test_disk_tears_writes_by_sectors() -> None:
    data = bytes(range(256)) * 16
    torn = [found_after([opened("t", 3), written(3, data)], Loss.MIXED, s) for s in range(40)]
    parts = [files["t"] for files in torn if "t" in files]
    whole = {data[:size] for size in range(0, 4097, 512)}
    assert any(part not in whole for part in parts)  # with holes
    sectors = {part[at : at + 512] for part in parts for at in range(0, len(part), 512)}
    assert sectors <= {bytes(512), data[:512], b""}


def test_disk_may_write_in_order_up_to_some_point() -> None:
    changes = [opened("t", 3), *(written(3, bytes([n]), n) for n in range(8)), *CAREFUL[4:]]
    found = {found_after(changes, Loss.ORDERED, seed)["t"] for seed in range(60)}
    assert found == {bytes(range(size)) for size in range(9)}


def test_boundaries_are_the_changes_that_a_cut_can_tell_apart() -> None:
    read_only = opened("a", 4, is_new=False)
    mark, close = Change(Kind.MARK, -1, 0, b"", b""), Change(Kind.CLOSE, 4, 0, b"", b"")
    assert boundaries([read_only, mark, *CAREFUL[:2], close]) == [3, 4]

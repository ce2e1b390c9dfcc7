"""Full disks, Ctrl-C, readers that went away, wrong sensors, gates that were forced."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

CLI = (sys.executable, "-m", "edgekiln.cli")
SEARCH = ("search", "--target", "raspberry-pi-4", "--candidates", "12", "-o", "found")
# Mounts a small disk that is full, runs the command, and lists what it left there.
ON_FULL_DISK = """
mount -t tmpfs -o size=64k tmpfs "$1" && cat /dev/zero > "$1/fill" 2>/dev/null
folder=$1; shift
"$@"; code=$?
rm "$folder/fill"; ls -A "$folder" | tr '\\n' ' '
exit $code
"""
MAY_MOUNT = (
    subprocess.run(
        ("unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"),
        capture_output=True,
        check=False,
    ).returncode
    == 0
    if shutil.which("unshare")
    else False
)


def until(what: str, holds: Callable[[], bool], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for: {what}"
        time.sleep(0.05)


def run_on_full_disk(arguments: tuple[str, ...], cwd: Path, disk: Path) -> tuple[int, str, str]:
    """Exit code, stderr, and the names left on the disk.

    Where no disk can be mounted, no file may grow: the same failure of every write.
    """
    command: tuple[str, ...] = (*CLI, *arguments)
    limit = None
    if MAY_MOUNT:
        command = ("unshare", "-rm", "sh", "-c", ON_FULL_DISK, "sh", str(disk), *command)
    else:

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit
    )
    left = done.stdout if MAY_MOUNT else " ".join(path.name for path in disk.iterdir())
    return done.returncode, done.stderr, left.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("init", "{disk}"),
        ("fleet", "init", "{disk}/fleet"),
        ("search", "--data", "good.npz", "-o", "{disk}/search"),
        ("compile", "tiny.pt2", "--data", "good.npz", "-o", "{disk}/x.ekb"),
        ("fleet", "enroll", "d", "--fleet", "farm", "--factory", "prod", "-o", "{disk}/d"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_full_disk_is_one_line_and_leaves_no_half_file(
    arguments: tuple[str, ...], built: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    chosen = tuple(part.format(disk=disk) for part in arguments)
    code, err, left = run_on_full_disk(chosen, built, disk)
    assert code == 2, err
    assert err.count("edgekiln:") == 1
    assert "Traceback" not in err
    limits = ("larger than", "cannot be used") if not MAY_MOUNT else ("no space left",)
    assert any(says in err for says in limits)
    assert left in ("", "search")  # the folder of a search may be there, and is empty
    assert not any(disk.rglob("*.part"))


# A disk that fills up while the search trains; with more room the same command goes on.
ON_SMALL_DISK = """
mount -t tmpfs -o size=40k tmpfs "$1"; folder=$1; shift
"$@"; echo $?
grep -c lost "$folder/found/ledger.jsonl"
mount -o remount,size=10m "$folder"
"$@"; echo $?
"""


@pytest.mark.slow
def test_search_goes_on_when_a_full_disk_has_room_again(workspace: Path, tmp_path: Path) -> None:
    if not MAY_MOUNT:
        return  # no file system of a known size can be had here
    search = (*CLI, *SEARCH[:-1], str(tmp_path / "found"), "--data", "good.npz", "--json")
    command = ("unshare", "-rm", "sh", "-c", ON_SMALL_DISK, "sh", str(tmp_path), *search)
    done = subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, timeout=200, check=False
    )
    first, _, rest = done.stdout.partition("}\n")
    assert "no space left" in json.loads(first + "}")["error"]
    code, lost, rest = rest.split("\n", 2)
    assert (code, lost) == ("2", "0")  # no candidate pays for the disk
    assert rest.endswith("}\n0\n"), done.stderr


def test_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            (*CLI, "targets", "list"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == (
        "edgekiln: no space left on the disk; free some and run the command again\n"
    )


@pytest.mark.parametrize("buffering", ["", "1"])
@pytest.mark.parametrize(
    "arguments", ["targets list", "targets list --json", "--help", "inspect no"]
)
def test_reader_that_went_away_gets_no_traceback(arguments: str, buffering: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        (*CLI, *arguments.split()),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": buffering},
    )
    os.close(writer)
    assert done.returncode == (2 if arguments == "inspect no" else 0)
    assert done.stderr.count("\n") == (1 if arguments == "inspect no" else 0)


def test_closed_stdout_and_stderr_change_nothing(tmp_path: Path) -> None:
    script = f"{sys.executable} -m edgekiln.cli targets list --json >&- 2>&-"
    assert subprocess.run(("sh", "-c", script), cwd=tmp_path, check=False).returncode == 0


@pytest.mark.slow
def test_search_ends_with_130_on_ctrl_c_and_goes_on_when_run_again(
    workspace: Path, tmp_path: Path, cli
) -> None:
    shutil.copy(workspace / "good.npz", tmp_path)
    shutil.copy(workspace / "wide.npz", tmp_path)
    ledger = tmp_path / "found" / "ledger.jsonl"
    command = (*CLI, *SEARCH, "--data", "good.npz", "--json")
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        until("three paid trainings", lambda: ledger.exists() and len(_lines(ledger)) > 3)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err.splitlines()[-1].startswith("edgekiln: interrupted")
    assert "Traceback" not in err
    assert json.loads(out)["error"].startswith("interrupted")
    paid = _lines(ledger)

    refused = cli(("compile", "found", "--data", "good.npz", "-o", "x.ekb"), tmp_path)
    assert refused.code == 2
    assert "did not end" in refused.err

    resumed = cli((*SEARCH, "--data", "good.npz", "--json"), tmp_path)
    assert resumed.code == 0, resumed.err
    assert json.loads(resumed.out)["complete"]
    assert _lines(ledger)[: len(paid)] == paid
    assert f"short: {json.loads(paid[1])['candidate_id']}" not in resumed.err

    _foreign_data_is_refused(tmp_path, cli)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def _foreign_data_is_refused(folder: Path, cli) -> None:
    kept = {path: path.read_bytes() for path in (folder / "found").iterdir() if path.is_file()}
    for arguments, says in (
        ((*SEARCH, "--data", "wide.npz"), "holds another search"),
        ((*SEARCH, "--data", "good.npz", "--seed", "7"), "holds another search"),
        (
            ("compile", "found", "--target", "raspberry-pi-4", "--data", "wide.npz", "-o", "x.ekb"),
            "was searched on other data",
        ),
        (
            ("compile", "found", "--target", "cortex-m4", "--data", "good.npz", "-o", "x.ekb"),
            "has no front for 'cortex-m4'",
        ),
    ):
        ran = cli(arguments, folder)
        assert ran.code == 2, ran.err
        assert says in ran.err
        assert ran.err.count("edgekiln:") == 1
    for path, data in kept.items():
        assert path.read_bytes() == data

    targets = folder / "found" / "targets.json"
    targets.write_text("{")
    ran = cli(("compile", "found", "--data", "good.npz", "-o", "x.ekb", *SEARCH[1:3]), folder)
    assert ran.code == 2
    assert "targets.json" in ran.err
    ran = cli((*SEARCH, "--data", "good.npz"), folder)
    assert ran.code == 0, ran.err
    assert json.loads(targets.read_bytes())["targets"]


@pytest.mark.slow
def test_forced_compile_writes_the_bundle_and_keeps_the_reason(built: Path, tmp_path: Path, cli):
    out = tmp_path / "made" / "for" / "it" / "forced.ekb"  # folders that are not there yet
    tight = ("compile", "tiny.pt2", "--project", "tight.toml", "--format", "tflite")
    ran = cli((*tight, "--force", "a pilot may be slow", "-o", str(out), "--json"), built)
    assert ran.code == 0, ran.err
    gate = json.loads(ran.out)["gate"]
    assert not gate["passed"]
    assert gate["forced_reason"] == "a pilot may be slow"
    released = cli(("release", str(out), "--fleet", "farm", "--json"), built)
    assert released.code == 0, released.err
    assert json.loads(released.out)["forced_reason"] == "a pilot may be slow"


@pytest.mark.slow
def test_device_counts_violations_and_lives_when_samples_have_the_wrong_shape(
    built: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sensor"
    shutil.copytree(built / "sensor", folder)
    command = (*CLI, "device", "run", str(folder), "--source", "wide.npz")
    options = ("--rate-hz", "50", "--window-s", "0.2", "--json")
    outbox = folder / "outbox.sqlite3"
    with subprocess.Popen(
        (*command, *options),
        cwd=built,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        until("stored reports", lambda: len(_reports(outbox)) >= 2)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert json.loads(out)["device"] == "sensor"
    reports = _reports(outbox)
    assert sum(report.violations for report in reports) > 0
    assert sum(report.samples for report in reports) == 0


def _reports(outbox: Path) -> list:
    from edgekiln.runtime.protocol import Report, decode

    if not outbox.exists():
        return []
    try:
        with sqlite3.connect(f"file:{outbox}?mode=ro", uri=True) as connection:
            rows = connection.execute(
                "select payload from message where kind = 'report'"
            ).fetchall()
        connection.close()
    except sqlite3.OperationalError:
        return []  # not made yet
    return [decode(payload, Report) for (payload,) in rows]

"""Children end with their parent, however it ends, and memory counts the whole family."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.cli import processes
from edgekiln.cli.errors import DemoError
from edgekiln.cli.processes import Children, PeakMemory, family_rss_bytes

# A parent that starts one child, says its id and waits to be killed.
PARENT = """
import sys, threading
from pathlib import Path
from edgekiln.cli import processes
real = processes.subprocess.Popen
processes.subprocess.Popen = lambda command, **kw: real([sys.executable, "-c", *command[3:]], **kw)
children = processes.Children(Path(sys.argv[1]))
child = children.start("waits", ["import threading; threading.Event().wait()"])
print(child.pid, flush=True)
threading.Event().wait()
"""
# Ends only when it is killed.
STUBBORN = """
import signal, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
threading.Event().wait()
"""


def until(what: str, holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for: {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture
def any_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `Children.start` run a script in place of a command of ours."""
    real = subprocess.Popen

    def start(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        assert command[:3] == [sys.executable, "-m", "edgekiln.cli"]
        return real([sys.executable, "-c", *command[3:]], **options)

    monkeypatch.setattr(processes.subprocess, "Popen", start)


def test_child_is_our_command_line_and_writes_its_own_log(tmp_path: Path) -> None:
    children = Children(tmp_path / "logs")
    child = children.start("version", ["--version"])
    assert child.wait(30) == 0
    assert (tmp_path / "logs" / "version.log").read_text().startswith("edgekiln")
    children.close()


def test_check_names_the_child_that_ended_and_its_last_line(tmp_path: Path) -> None:
    children = Children(tmp_path)
    children.start("server", ["frobnicate"]).wait(30)
    with pytest.raises(DemoError, match="server ended with code 2: edgekiln: No such command"):
        children.check()
    children.close()


@pytest.mark.usefixtures("any_python")
def test_check_says_nothing_while_all_children_run(tmp_path: Path) -> None:
    children = Children(tmp_path)
    children.start("waits", ["import threading; threading.Event().wait()"])
    children.check()
    children.close()


@pytest.mark.usefixtures("any_python")
def test_close_ends_every_child_even_one_that_is_deaf(tmp_path: Path) -> None:
    children = Children(tmp_path)
    polite = children.start("polite", ["import threading; threading.Event().wait()"])
    deaf = children.start("deaf", [STUBBORN])
    until("the deaf child", lambda: (tmp_path / "deaf.log").read_text() == "deaf\n")
    children.close(grace_s=0.5)
    assert polite.returncode == -signal.SIGTERM
    assert deaf.returncode == -signal.SIGKILL
    children.close()  # a second time does nothing


def test_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    command = (sys.executable, "-c", PARENT, str(tmp_path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        parent.wait()
    until("the end of the orphan", lambda: not alive(pid))


def test_family_counts_a_child_and_the_peak_keeps_it() -> None:
    alone = family_rss_bytes(os.getpid())
    assert alone > 10 << 20
    big = (
        "x = bytearray(96 << 20); x[::4096] = b'1' * len(x[::4096]); print(1, flush=True); input()"
    )
    with PeakMemory(period_s=0.02) as memory:
        command = (sys.executable, "-c", big)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            assert family_rss_bytes(child.pid) > 96 << 20
            until("a sample with the child", lambda: memory.peak_bytes > alone + (90 << 20))
            child.communicate(b"\n")
    assert memory.peak_bytes > alone + (90 << 20)


def test_family_of_nobody_is_0_bytes() -> None:
    assert family_rss_bytes(2**31 - 2) == 0

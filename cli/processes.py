"""Child processes that never outlive us, and what the whole family uses of memory."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from .errors import DemoError

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Children:
    """Starts children, each with its own log; `close()` ends them all, asked or killed.

    Children run in their own session, so that a Ctrl-C at the terminal reaches only us and the
    end is orderly; on Linux the kernel ends them too if we are killed.
    """

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []
        log_folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Run `edgekiln ARGUMENTS…` in a child; its output goes to `NAME.log`."""
        command = [sys.executable, "-m", "edgekiln.cli", *arguments]
        with (self._log_folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, safe after fork
            )
        self._children.append((name, child))
        return child

    def check(self) -> None:
        """Fail in one line when a child has ended by itself.

        Raises:
            DemoError: naming the child, its exit code and the last line of its log.
        """
        for name, child in self._children:
            code = child.poll()
            if code is not None:
                raise DemoError(f"{name} ended with code {code}: {self._last_line(name)}")

    def _last_line(self, name: str) -> str:
        path = self._log_folder / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its log is empty"

    def close(self, grace_s: float = 5.0) -> None:
        """End every child: SIGTERM, then SIGKILL for what is still there."""
        for _, child in self._children:
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + grace_s
        for _, child in self._children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()


def family_rss_bytes(pid: int) -> int:
    """Resident bytes of a process and all its descendants (Linux; 0 elsewhere).

    Shared pages are counted once per process, so the sum is an upper bound.
    """
    children: dict[int, list[int]] = {}
    rss: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue  # it ended while we looked
        children.setdefault(int(fields[1]), []).append(int(entry.name))
        rss[int(entry.name)] = int(fields[21]) * page
    total, queue = 0, [pid]
    while queue:
        current = queue.pop()
        total += rss.get(current, 0)
        queue += children.get(current, [])
    return total


class PeakMemory:
    """Samples the family's resident memory in a thread; `peak_bytes` is the highest seen."""

    def __init__(self, period_s: float = 0.5) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(period_s,), daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self, period_s: float) -> None:
        while not self._stop.wait(period_s):
            self.peak_bytes = max(self.peak_bytes, family_rss_bytes(os.getpid()))

"""Figures of the machine that a device runs on, as far as the kernel tells them. All may fail."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from .protocol import SystemFigures

SYS, PROC = Path("/sys"), Path("/proc")
_ZONES = "class/thermal/thermal_zone*/temp"
_COOLERS = "class/thermal/cooling_device*"
_COUNTS = "devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"
_RASPBERRY = "devices/platform/soc/soc:firmware/get_throttled"
_SLOWING = ("processor", "cpufreq", "thermal-cpufreq", "cpu-idle")  # coolers that cost speed
_NOW = 0xF  # of the Raspberry Pi's word: under voltage, capped, throttled, soft limit
_SANE_C = (-50.0, 200.0)


class SystemProbe:
    """Looks at the machine when it is called; each call tells what was used since the one before.

    `folder` is where the device keeps its files; `sys` and `proc` are the kernel's.
    """

    def __init__(self, folder: Path, sys: Path = SYS, proc: Path = PROC) -> None:
        self._folder = folder
        self._sys = sys
        self._proc = proc
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()
        self._throttles = self._throttle_count()

    def __call__(self) -> SystemFigures:
        """The figures now; what is not known is None."""
        cpu_s, wall_s = time.process_time(), time.monotonic()
        used_s, passed_s = cpu_s - self._cpu_s, wall_s - self._wall_s
        self._cpu_s, self._wall_s = cpu_s, wall_s
        return SystemFigures(
            cpu_s=used_s,
            wall_s=passed_s,
            load=_load(),
            temperature_c=self._temperature_c(),
            throttled=self._throttled(),
            disk_free_bytes=self._disk_free_bytes(),
            uptime_s=self._uptime_s(),
        )

    def _temperature_c(self) -> float | None:
        zones = [value / 1000 for value in _numbers(self._sys, _ZONES)]
        sane = [value for value in zones if _SANE_C[0] < value < _SANE_C[1]]
        return max(sane, default=None)

    def _throttled(self) -> bool | None:
        """Whether anything slows the processor now, or has since the last look."""
        counted, self._throttles = self._throttles, self._throttle_count()
        signs: list[bool] = []
        if self._throttles is not None and counted is not None:
            signs.append(self._throttles > counted)
        for cooler in self._sys.glob(_COOLERS):
            kind = _text(cooler / "type").strip().lower()
            if kind.startswith(_SLOWING):
                signs += [value > 0 for value in _numbers(cooler, "cur_state")]
        with contextlib.suppress(ValueError):
            signs.append(bool(int(_text(self._sys / _RASPBERRY), 16) & _NOW))
        return any(signs) if signs else None

    def _throttle_count(self) -> int | None:
        counts = list(_numbers(self._sys, _COUNTS))
        return sum(counts) if counts else None

    def _disk_free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return None

    def _uptime_s(self) -> float | None:
        try:
            return float(_text(self._proc / "uptime").split()[0])
        except (IndexError, ValueError):
            return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return None


def _numbers(root: Path, pattern: str) -> Iterator[int]:
    """Whole numbers in the files that match."""
    for path in root.glob(pattern):
        text = _text(path).strip()
        if text.isascii() and text.removeprefix("-").isdigit():
            yield int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""

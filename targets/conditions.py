"""`Conditions`: what a machine was doing while something was timed on it."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUFREQ = Path("/sys/devices/system/cpu")
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Conditions:
    """One look at the machine. None: this system does not tell.

    `core` is the one that the thread was pinned to, `load` the mean number of runnable threads
    over the last minute, `switches` how often the thread was interrupted since it began.
    """

    cpu: str
    cores: int
    core: int | None
    load: float | None
    frequency_hz: int | None
    governor: str | None
    switches: int | None


def read_conditions(core: int | None) -> Conditions:
    """The machine as it is now, seen from a thread that is pinned to `core`."""
    return Conditions(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        core=core,
        load=_load(),
        frequency_hz=_frequency_hz(core),
        governor=_cpufreq(core, "scaling_governor"),
        switches=_switches(),
    )


def _load() -> float | None:
    with contextlib.suppress(AttributeError, OSError):  # Windows has none
        return os.getloadavg()[0]
    return None


def _cpufreq(core: int | None, name: str) -> str | None:
    path = CPUFREQ / f"cpu{core or 0}" / "cpufreq" / name
    with contextlib.suppress(OSError):
        return path.read_text(encoding="ascii").strip() or None
    return None


def _frequency_hz(core: int | None) -> int | None:
    """By cpufreq in kHz, or in a virtual machine, which has none, by /proc/cpuinfo in MHz."""
    told = _cpufreq(core, "scaling_cur_freq")
    if told is not None and told.isdigit():
        return int(told) * 1000
    values = _cpuinfo("cpu MHz")
    index = core or 0
    return round(float(values[index]) * 1e6) if index < len(values) else None


def _cpu_name() -> str:
    names = _cpuinfo("model name")
    return names[0] if names else platform.processor() or platform.machine()


def _cpuinfo(key: str) -> list[str]:
    """The values of `key`, one for each processor; none where there is no such file or key."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    pairs = (line.partition(":") for line in text.splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _switches() -> int | None:
    with contextlib.suppress(ImportError, AttributeError, OSError):  # a Linux matter
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
    return None

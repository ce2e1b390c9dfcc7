"""Real series: what detectors find of labelled windows, and what they cry before and after them.

The series are a part of NAB (MIT; `series/nab` of the data folder): 17 of cloud machines and 6 made
up, at five minutes a value, with windows in which people saw something amiss; 5 more have none. A
series' first 30 % is the reference, or what comes before its first window if that is less. An
alarm counts where it begins: inside a window, which is then found, or outside, where it is false.

Neighbouring values are alike, and so are days: a day is nothing new to a person, but it is no draw
from the reference either. **As it is** takes the values as a device would. **Against yesterday**
takes each value less that of the same time a day before. **And apart** takes besides only every
sixth, half an hour apart, so that they are more nearly independent.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.drift import RUN_LENGTH

from . import drift_peers
from .figure import Figure

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
DAY = 288  # values
APART = 6
_LEAST = 150  # values of a reference


@dataclass(frozen=True, slots=True)
class Series:
    """Values (n,) and the windows, first and last index, in which something is amiss."""

    name: str
    values: Array
    windows: tuple[tuple[int, int], ...]

    def against_yesterday(self) -> Series:
        """Of the second day on, the change since the day before; windows move along."""
        return Series(self.name, self.values[DAY:] - self.values[:-DAY], self._moved(DAY, 1))

    def apart(self) -> Series:
        """Every sixth value."""
        return Series(self.name, self.values[::APART], self._moved(0, APART))

    def _moved(self, by: int, step: int) -> tuple[tuple[int, int], ...]:
        moved = (((first - by) // step, (last - by) // step) for first, last in self.windows)
        return tuple(window for window in moved if window[0] > 0)


@dataclass(frozen=True, slots=True)
class Score:
    """Of all series: windows found, windows, false alarms, series with one, series, values."""

    found: int
    windows: int
    false: int
    disturbed: int
    series: int
    values: int


Alarms = Callable[[Array, Array], Mask]  # (reference, values) -> whether an alarm is on, (n,)


def figures() -> Iterator[Figure]:
    """Each detector on each kind of values."""
    all_series = load()
    if not all_series:
        yield Figure("real series: no data, set EDGEKILN_DATA", 0, "series", "exact")
        return
    yesterday = [series.against_yesterday() for series in all_series]
    kinds = {
        "as it is": all_series,
        "against yesterday": yesterday,
        "and apart": [series.apart() for series in yesterday],
    }
    detectors: dict[str, Alarms] = {
        "ours": _ours,
        "PSI, default": _windowed(drift_peers.psi, 0.2),
        "KS, default": _windowed(drift_peers.ks, 0.1),
        "Page-Hinkley, default": _page_hinkley,
        "ADWIN, default": _adwin,
    }
    for kind, several in kinds.items():
        for name, alarms in detectors.items():
            score = judge(several, alarms)
            what = f"series {kind}: {name}"
            yield Figure(f"{what}: windows found", score.found, f"of {score.windows}", "exact")
            false = 1000 * score.false / score.values
            yield Figure(f"{what}: false alarms", false, "per 1,000", "exact")
            yield Figure(f"{what}: series with one", score.disturbed, f"of {score.series}", "exact")


def load() -> list[Series]:
    """Every series, by name; none without the data folder."""
    root = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("EDGEKILN_DATA", root.parent / "shared" / "data")) / "series/nab"
    if not data.is_dir():
        return []
    labels = json.loads((data / "labels/combined_windows.json").read_text())
    return [
        _read(path, labels.get(path.relative_to(data / "data").as_posix(), []))
        for path in sorted((data / "data").rglob("*.csv"))
    ]


def judge(several: Sequence[Series], alarms: Alarms) -> Score:
    """One detector on all series that have a reference and vary in it."""
    found = windows = false = disturbed = values = judged = 0
    for series in several:
        first = min((window[0] for window in series.windows), default=len(series.values))
        count = min(len(series.values) * 3 // 10, first)
        reference = series.values[:count]
        if count < _LEAST // APART or reference.min() == reference.max():
            continue
        on = alarms(reference, series.values[count:])
        begins = count + np.flatnonzero(on & ~np.append(False, on[:-1]))
        inside = [(begins >= first) & (begins <= last) for first, last in series.windows]
        outside = ~np.logical_or.reduce(inside) if inside else np.ones(len(begins), np.bool_)
        found += sum(bool(one.any()) for one in inside)
        windows += len(series.windows)
        false += int(outside.sum())
        disturbed += bool(outside.any())
        values += len(on)
        judged += 1
    return Score(found, windows, false, disturbed, judged, values)


def _read(path: Path, labels: Sequence[Sequence[str]]) -> Series:
    with path.open() as file:
        rows = [
            (datetime.fromisoformat(row["timestamp"]), row["value"]) for row in csv.DictReader(file)
        ]
    times = [time for time, _ in rows]
    windows = []
    for start, end in labels:
        inside = [
            index
            for index, time in enumerate(times)
            if datetime.fromisoformat(start) <= time <= datetime.fromisoformat(end)
        ]
        windows.append((inside[0], inside[-1]))
    return Series(path.stem, np.array([value for _, value in rows], np.float32), tuple(windows))


def _ours(reference: Array, values: Array) -> Mask:
    """A device with this one feature: three detectors."""
    path = drift_peers.e_detector(reference[:, None], 0)(values[:, None])
    return path[:, 0] >= 3 * RUN_LENGTH


def _windowed(make: Callable[[Array], drift_peers.Path], threshold: float) -> Alarms:
    """On from the end of a window to the end of the next."""

    def alarms(reference: Array, values: Array) -> Mask:
        path = make(reference[:, None])(values[:, None])[:, 0]
        ends = path[drift_peers.WINDOW - 1 :: drift_peers.WINDOW] >= threshold
        on = np.repeat(np.append(False, ends), drift_peers.WINDOW)
        return on[: len(values)]

    return alarms


def _page_hinkley(reference: Array, values: Array) -> Mask:
    from river.drift import PageHinkley

    return _river(PageHinkley(), reference, values)


def _adwin(reference: Array, values: Array) -> Mask:
    from river.drift import ADWIN

    return _river(ADWIN(), reference, values)


def _river(detector: drift_peers.Peer, reference: Array, values: Array) -> Mask:
    """Of values with the reference's mean and deviation as 0 and 1; the reference comes first."""
    scaled = (np.append(reference, values) - reference.mean()) / reference.std()
    on = np.zeros(len(scaled), np.bool_)
    for at, value in enumerate(scaled.tolist()):
        detector.update(value)
        on[at] = detector.drift_detected
    return on[len(reference) :]

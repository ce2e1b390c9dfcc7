"""`SampleSource`: where a device's inputs come from, one raw sample at a time.

An `.npz` with the samples under `x` stands for a sensor: looped in a seeded random order, and read
again when the file is replaced, so that a change of the world can be played to a running device.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .errors import SourceError

Samples = npt.NDArray[np.generic]
# What numpy and zipfile raise over damaged, encrypted or foreign bytes.
_UNSOUND = (
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    KeyError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


class SampleSource(Protocol):
    """Gives the next raw sample; `period_s` is the time between two, 0 for as fast as can be."""

    @property
    def period_s(self) -> float:
        """Seconds between two samples."""
        ...

    def next(self) -> Samples:
        """One sample, without the batch axis.

        Raises:
            SourceError: the samples cannot be read.
        """
        ...


class NpzSource:
    """Samples of an `.npz`'s `x`, shape (n, …), at `rate_hz`.

    The file is looked at once a pass and at most `CHECK_EVERY` samples apart. While a replacement
    cannot be read the samples in hand stay in use.
    """

    CHECK_EVERY = 16

    def __init__(self, path: Path, rate_hz: float, seed: int = 0) -> None:
        """Read the file.

        Raises:
            SourceError: it is missing or is no such file, or the rate is not above 0.
        """
        if not rate_hz > 0:
            raise SourceError(f"the sample rate is {rate_hz:g} Hz, it must be above 0")
        self._path = path
        self._period_s = 1.0 / rate_hz
        self._rng = np.random.default_rng(seed)
        self._stamp = _stamp(path)
        self._samples = read_samples(path)
        self._order = self._rng.permutation(len(self._samples))
        self._given = 0

    @property
    def period_s(self) -> float:
        """Seconds between two samples."""
        return self._period_s

    def next(self) -> Samples:
        """The next sample in this pass's random order."""
        if self._given % self.CHECK_EVERY == 0:
            self._reread()
        place = self._given % len(self._order)
        if place == 0:
            self._order = self._rng.permutation(len(self._samples))
        self._given += 1
        sample: Samples = self._samples[self._order[place]]
        return sample

    def _reread(self) -> None:
        try:
            stamp = _stamp(self._path)
            if stamp == self._stamp:
                return
            samples = read_samples(self._path)
        except SourceError:
            return
        self._stamp, self._samples, self._given = stamp, samples, 0


def read_samples(path: Path) -> Samples:
    """The array `x` of an `.npz`, shape (n, …), n ≥ 1.

    Raises:
        SourceError: the file is missing or damaged, has no `x`, or `x` holds no samples of numbers.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile) or "x" not in archive:
                raise SourceError(f"{path} is no .npz with an array 'x'")
            samples: Samples = archive["x"]
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    except _UNSOUND as error:
        msg = f"{path} is no .npz with an array 'x' of numbers; write it with numpy.savez"
        raise SourceError(msg) from error
    if samples.ndim < 2 or len(samples) == 0 or samples.dtype.kind not in "fiu":
        shape = tuple(samples.shape)
        raise SourceError(f"{path}: 'x' has shape {shape} and dtype {samples.dtype}, not samples")
    return samples


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return status.st_mtime_ns, status.st_ino, status.st_size

"""Data sets: loaded, checked, split once, with a test part that stays sealed.

`load_dataset` takes `sklearn:NAME` (digits, iris, wine, breast_cancer) or a file `NAME.npz` with
the arrays `x` (samples first) and `y` (labels), and optionally `classes` (the labels' names).

Invariants:

- The split depends on the seed and on the data's own hash alone, and every class is in it.
- The test rows are not in `Dataset.x`: nothing can look at them but `open_test`, which counts.
- Preprocessing is estimated on the training rows only.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.contract import Contract

from .errors import DataContentError, DataFormatError, DataSourceError
from .input_schema import InputSchema, preprocessing, preprocessing_text, shaped, tensor_spec

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FOUND = InputSchema()  # nothing said: what the data are is found in them
SKLEARN_SETS = ("digits", "iris", "wine", "breast_cancer")
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.2
MIN_PER_CLASS = 2
# What numpy and zipfile raise over damaged, encrypted or foreign bytes.
_UNSOUND = (
    ValueError,
    EOFError,
    MemoryError,
    RuntimeError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
)


class SealedTest:
    """The test rows, and how often they were looked at."""

    def __init__(self, x: FloatArray, y: IntArray) -> None:
        self._x = x
        self._y = y
        self.openings = 0

    def __len__(self) -> int:
        return len(self._y)

    def open(self) -> tuple[FloatArray, IntArray]:
        """The rows and labels; counted."""
        self.openings += 1
        return self._x, self._y


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set.

    `x` is (n, *contract.input.shape) float32 in raw units and `y` (n,) int64 class indices, both
    without the test rows. `train` and `validation` are ascending row indices into them and
    together cover all rows. `sha256` is over the whole data set, test rows included.
    """

    name: str
    x: FloatArray
    y: IntArray
    contract: Contract
    sha256: str
    train: IntArray
    validation: IntArray
    sealed: SealedTest

    def open_test(self) -> tuple[FloatArray, IntArray]:
        """Break the seal: test rows and labels. For the final report alone; each call counts."""
        return self.sealed.open()

    @property
    def test_openings(self) -> int:
        """How often the test rows were looked at."""
        return self.sealed.openings


@dataclass(frozen=True)
class _Source:
    """What a source holds, before any check."""

    source: str  # as the user gave it
    name: str
    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    classes: tuple[str, ...] | None
    limits: tuple[float, float] | None  # the sensor's range, where it is known


def load_dataset(source: str, seed: int = 0, schema: InputSchema = FOUND) -> Dataset:
    """The data set behind `source`, checked and split 60/20/20 with every class in each part.

    A class of 2 samples has none in the test part. Images (height, width) get a channel axis.
    `schema` says what the numbers do not.

    Raises:
        DataSourceError: no such source, a file that cannot be read, scikit-learn not installed.
        DataFormatError: missing or extra arrays, wrong shapes or types, a schema that contradicts
            itself or the samples.
        DataContentError: values that are not finite, one class, fewer than 2 samples of a class.
    """
    if problem := schema.problem():
        raise DataFormatError(f"data '{source}', contract: {problem}")
    raw = _load_sklearn(source) if source.startswith("sklearn:") else _load_npz(source)
    plain, place = _checked_samples(raw), f"data '{source}'"
    y, classes = _checked_labels(raw, len(plain))
    # Of the numbers alone, images or series: hence always with a channel axis.
    digest = dataset_sha256(plain[..., None] if plain.ndim == 3 else plain, y)
    x = shaped(plain, schema, raw.limits, place)
    train, validation, test = _split(y, seed, digest)
    if len(test) == 0:
        raise DataContentError(
            f"data '{raw.source}': no class has 3 samples, so none is left to test on; add samples"
        )
    kept = np.sort(np.concatenate((train, validation)))
    spec = tensor_spec(schema, tuple(int(size) for size in x.shape[1:]), raw.limits)
    contract = Contract(
        input=spec, classes=classes, preprocessing=preprocessing(schema, spec, x[train], place)
    )
    return Dataset(
        name=raw.name,
        x=_frozen(x[kept]),
        y=_frozen(y[kept]),
        contract=contract,
        sha256=digest,
        train=_frozen(np.searchsorted(kept, train)),
        validation=_frozen(np.searchsorted(kept, validation)),
        sealed=SealedTest(_frozen(x[test]), _frozen(y[test])),
    )


def described(dataset: Dataset) -> str:
    """One line for a person: what was found in the data, and what is done to a sample."""
    contract, count = dataset.contract, len(dataset.x) + len(dataset.sealed)
    return (
        f"{dataset.name}, {count} samples of {contract.input.name} {contract.input.shape}, "
        f"{len(contract.classes)} classes; preprocessing: "
        f"{preprocessing_text(contract.preprocessing)}"
    )


def dataset_sha256(x: FloatArray, y: IntArray) -> str:
    """Hex digest of shape, samples (float32) and labels (int64), little-endian, in row order."""
    digest = hashlib.sha256(f"edgekiln.dataset.v1 {x.shape}".encode())
    digest.update(np.ascontiguousarray(x, dtype="<f4").tobytes())
    digest.update(np.ascontiguousarray(y, dtype="<i8").tobytes())
    return digest.hexdigest()


def _load_sklearn(source: str) -> _Source:
    name = source.removeprefix("sklearn:")
    if name not in SKLEARN_SETS:
        msg = f"data '{source}': no such set; there are: sklearn:{', sklearn:'.join(SKLEARN_SETS)}"
        raise DataSourceError(msg)
    try:
        from sklearn import datasets
    except ImportError as error:
        msg = (
            f"data '{source}' needs scikit-learn; install it with: pip install 'edgekiln[compile]'"
        )
        raise DataSourceError(msg) from error
    bunch = getattr(datasets, f"load_{name}")()
    classes = tuple(str(label) for label in bunch.target_names)
    if name == "digits":
        return _Source(source, name, bunch.images, bunch.target, classes, (0.0, 16.0))
    return _Source(source, name, bunch.data, bunch.target, classes, None)


def _load_npz(source: str) -> _Source:
    path = Path(source)
    if path.suffix != ".npz":
        msg = f"data '{source}': expected a file NAME.npz or sklearn:NAME"
        raise DataSourceError(msg)
    with readable(source), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with archive:
            arrays = {key: archive[key] for key in archive.files}
    missing = [key for key in ("x", "y") if key not in arrays]
    extra = sorted(set(arrays) - {"x", "y", "classes"})
    if missing or extra:
        msg = (
            f"data '{source}' has the arrays {', '.join(sorted(arrays)) or 'none'}; "
            "it must have x and y, and may have classes"
        )
        raise DataFormatError(msg)
    classes = arrays.get("classes")
    if classes is not None and (classes.ndim != 1 or classes.dtype.kind not in "US"):
        msg = f"data '{source}': 'classes' must be a list of names, it is {_describe(classes)}"
        raise DataFormatError(msg)
    names = None if classes is None else tuple(_text(label) for label in classes)
    x = arrays["x"]
    limits = (0.0, 255.0) if x.dtype == np.uint8 and x.ndim > 2 else None
    return _Source(source, path.stem, x, arrays["y"], names, limits)


@contextmanager
def readable(source: str) -> Iterator[None]:
    """Whatever reading an archive can raise, as one line."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"data '{source}': no such file"
        raise DataSourceError(msg) from error
    except OSError as error:
        msg = f"data '{source}' cannot be read: {error.strerror or error}"
        raise DataSourceError(msg) from error
    except _UNSOUND as error:
        msg = f"data '{source}' is no sound .npz file of plain arrays; write it with numpy.savez"
        raise DataSourceError(msg) from error


def _checked_samples(raw: _Source) -> FloatArray:
    """`x` as it lies, float32."""
    x = raw.x
    if x.dtype.kind not in "fiub" or x.ndim not in (2, 3, 4) or x.size == 0:
        msg = (
            f"data '{raw.source}': x is {_describe(x)}; it must be numbers of shape (n, features), "
            "(n, time, channels), (n, height, width) or (n, height, width, channels)"
        )
        raise DataFormatError(msg)
    with np.errstate(over="ignore"):  # what overflows float32 is reported as not finite
        values = np.ascontiguousarray(x, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if len(bad):
        msg = (
            f"data '{raw.source}': {len(bad)} of {len(values)} samples hold a value that is not "
            f"finite, the first is sample {bad[0]}; fill in or drop them"
        )
        raise DataContentError(msg)
    return values


def _checked_labels(raw: _Source, samples: int) -> tuple[IntArray, tuple[str, ...]]:
    """`y` as class indices, and the classes' names."""
    y = raw.y
    if y.ndim != 1 or len(y) != samples or y.dtype.kind not in "iubUS":
        msg = (
            f"data '{raw.source}': y is {_describe(y)}; it must be {samples} whole numbers or "
            "names, one label for each sample of x"
        )
        raise DataFormatError(msg)
    present, indices = np.unique(y, return_inverse=True)
    names = raw.classes
    if names is None:
        names = tuple(_text(label) for label in present)
    elif len(set(names)) < len(names):
        msg = f"data '{raw.source}': 'classes' names a class twice"
        raise DataFormatError(msg)
    elif y.dtype.kind in "US":
        indices = _indices_of_names(raw, names)
    elif len(present) and (present[0] < 0 or present[-1] >= len(names)):
        msg = (
            f"data '{raw.source}': labels go from {present[0]} to {present[-1]}, but 'classes' has "
            f"{len(names)} names; labels must be 0 to {len(names) - 1}"
        )
        raise DataFormatError(msg)
    else:
        indices = y
    labels = np.ascontiguousarray(indices, dtype=np.int64)
    _check_counts(raw.source, labels, names)
    return labels, names


def _indices_of_names(raw: _Source, names: tuple[str, ...]) -> npt.NDArray[Any]:
    position = {name: index for index, name in enumerate(names)}
    labels = [_text(label) for label in raw.y]
    unknown = sorted(set(labels) - set(names))
    if unknown:
        msg = f"data '{raw.source}': label '{unknown[0]}' is not in 'classes'"
        raise DataFormatError(msg)
    return np.array([position[label] for label in labels], dtype=np.int64)


def _check_counts(source: str, labels: IntArray, names: tuple[str, ...]) -> None:
    if len(names) < 2:
        msg = f"data '{source}' has {len(names)} distinct labels; a classifier needs 2 or more"
        raise DataContentError(msg)
    counts = np.bincount(labels, minlength=len(names))
    if counts.min() < MIN_PER_CLASS:
        rare = int(counts.argmin())
        msg = (
            f"data '{source}': class '{names[rare]}' has {counts[rare]} samples, every class needs "
            f"{MIN_PER_CLASS} or more; add samples or drop the class"
        )
        raise DataContentError(msg)


def _split(y: IntArray, seed: int, digest: str) -> tuple[IntArray, IntArray, IntArray]:
    """Ascending row indices of train, validation and test, stratified by class."""
    material = hashlib.sha256(f"split {seed} {digest}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(material, "big"))
    parts: tuple[list[IntArray], ...] = ([], [], [])
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        validation = max(1, round(VALIDATION_SHARE * len(rows)))
        test = max(1, round(TEST_SHARE * len(rows))) if len(rows) > MIN_PER_CLASS else 0
        cuts = (len(rows) - validation - test, len(rows) - test)
        for part, chosen in zip(parts, np.split(rows, cuts), strict=True):
            part.append(chosen)
    train, validation_rows, test_rows = (np.sort(np.concatenate(part)) for part in parts)
    return train, validation_rows, test_rows


def _frozen(array: npt.NDArray[Any]) -> Any:
    """The array, read-only: a data set never changes under its hash."""
    array.flags.writeable = False
    return array


def _text(label: object) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


def _describe(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"

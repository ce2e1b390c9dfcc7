"""C and Python agree to the last bit on references and data that nobody chose."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekiln.compiler.emit_drift import emit_drift
from edgekiln.runtime.drift import DriftDetector
from edgekiln.runtime.reference import Binner, Reference, describe

FLAGS = (
    *("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-fPIC", "-shared"),
    *("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
)
OBSERVATIONS = 300


@dataclass(frozen=True, slots=True)
class Case:
    reference: Reference
    run_length: float
    tolerance: float
    values: np.ndarray  # (n, rows)
    u: np.ndarray
    answers: np.ndarray


def _draw(seed: int) -> Case:
    """Continuous, scarce and huge values, few and many samples and classes, any tolerance."""
    rng = np.random.default_rng(seed)
    samples, answers = int(rng.choice([1, 3, 40, 700])), int(rng.choice([1, 5, 300]))
    classes = int(rng.choice([1, 2, 3, 17, 300]))
    kinds: tuple[Callable[[], np.ndarray], ...] = (
        lambda: rng.normal(size=samples),
        lambda: rng.integers(0, 3, samples) * 1.0,
        lambda: np.where(rng.random(samples) < 0.8, 0, rng.normal(size=samples) * 1e30),
        lambda: rng.random(samples) * 1e-38,
        lambda: np.round(rng.normal(size=samples), 1),
    )
    columns = [kinds[rng.integers(0, 5)]() for _ in range(rng.integers(0, 6))]
    features = [describe(f'*/ "{row}', column) for row, column in enumerate(columns)]
    counts = rng.multinomial(answers, rng.dirichlet(np.ones(classes) * 0.3)) + 0.5
    reference = Reference(
        features=tuple(features),
        classes=tuple((counts / counts.sum()).tolist()),
        confidence=describe("confidence", rng.random(answers)),
        samples=samples,
        answers=answers,
    )
    seen = [column[rng.integers(0, samples, OBSERVATIONS)] for column in columns]
    values = np.stack((*seen, rng.random(OBSERVATIONS)), axis=1)
    values[rng.random(values.shape) < 0.3] *= 1.5
    if rng.random() < 0.3:
        values[100:, 0] = 3e38
    stuck = rng.random() < 0.5
    return Case(
        reference=reference,
        run_length=float(rng.choice([1, 50, 1e9])),
        tolerance=float(rng.choice([0, 0.02, 0.3, 0.97])),
        values=values.astype(np.float32),
        u=rng.random(values.shape, np.float32),
        answers=rng.integers(classes - 1 if stuck else 0, classes, OBSERVATIONS),
    )


def _library(case: Case, folder: Path, gcc: str) -> ctypes.CDLL:
    for name, data in emit_drift(case.reference, case.run_length, case.tolerance).items():
        (folder / name).write_bytes(data)
    sources = [str(folder / name) for name in ("ek_drift.c", "drift_reference.c")]
    command = (gcc, *FLAGS, *sources, "-o", str(folder / "drift.so"))
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    library = ctypes.CDLL(str(folder / "drift.so"))
    library.ek_drift_bin.argtypes = (ctypes.c_void_p, ctypes.c_float, ctypes.c_float)
    library.ek_drift_bin.restype = ctypes.c_uint8
    library.ek_drift_evidence.restype = ctypes.c_float
    return library


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_c_equals_python_when_reference_and_data_are_drawn(
    seed: int, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    case = _draw(seed)
    library = _library(case, tmp_path, require_tool("gcc"))
    rows = case.values.shape[1]
    features = ctypes.addressof((ctypes.c_char * (16 * rows)).in_dll(library, "drift_features"))
    drift = ctypes.byref((ctypes.c_char * 40).in_dll(library, "drift_detector"))
    head = (ctypes.c_float * 3).in_dll(library, "drift_memory")
    detector = DriftDetector(case.reference, case.run_length, case.tolerance)
    bins = Binner((*case.reference.features, case.reference.confidence)).bins(case.values, case.u)
    assert library.ek_drift_start(drift) == 0
    for at, answer in enumerate(case.answers):
        pairs = zip(case.values[at].tolist(), case.u[at].tolist(), strict=True)
        found = bytes(
            library.ek_drift_bin(features + 16 * row, value, u)
            for row, (value, u) in enumerate(pairs)
        )
        assert found == bins[at].astype(np.uint8).tobytes()
        on = library.ek_drift_observe(drift, found, int(answer))
        detector.observe(bins[at : at + 1], case.answers[at : at + 1])
        evidence = [library.ek_drift_evidence(drift, row) for row in range(rows)]
        assert evidence == detector.binned.evidence.tolist()
        assert head[2] == detector.classes.evidence[0]
        assert np.isfinite([*evidence, head[2]]).all()
        assert bool(on) == (detector.binned.alarms.any() or detector.classes.alarms[0])
    assert library.ek_drift_start(drift) == 1  # what it came to is a state that it takes

"""The vectors that Python and C are held to: observations, and the state that they lead to.

`python -m tests.runtime.drift_vectors` writes `vectors/drift.json` again, from Python's detector.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np

from edgekiln.runtime.contract import Contract, TensorSpec
from edgekiln.runtime.drift import DriftDetector
from edgekiln.runtime.reference import Binner, Reference, build_reference

PATH = Path(__file__).parent / "vectors" / "drift.json"
EVERY = 20  # observations between two looks at the state
RUN_LENGTH = 500.0  # short, so that alarms come and go
TOLERANCE = 0.02
Array = np.ndarray


class Vectors(msgspec.Struct, frozen=True):
    """Arrays as hexadecimal digits, little-endian: float32 where they are no bytes.

    `lines` is what c/ek_drift.c's program prints: bins, and at times the alarm and the state.
    """

    reference: str
    values: str
    u: str
    answers: str
    lines: tuple[str, ...]

    def inputs(self) -> tuple[Reference, Array, Array, Array]:
        """The reference, values and u (n, rows), answers (n,)."""
        reference = Reference.from_bytes(bytes.fromhex(self.reference))
        rows = len(reference.features) + 1
        values, u = (
            np.frombuffer(bytes.fromhex(text), "<f4").astype(np.float32).reshape(-1, rows)
            for text in (self.values, self.u)
        )
        return reference, values, u, np.frombuffer(bytes.fromhex(self.answers), np.uint8)


def load() -> Vectors:
    return msgspec.json.decode(PATH.read_bytes(), type=Vectors)


def lines_of(reference: Reference, values: Array, u: Array, answers: Array) -> tuple[str, ...]:
    """What Python's detector makes of it, one observation at a time."""
    detector = DriftDetector(reference, RUN_LENGTH, TOLERANCE)
    binner = Binner((*reference.features, reference.confidence))
    bins = binner.bins(values, u)
    lines = []
    for count, (row, answer) in enumerate(zip(bins, answers.astype(np.int64), strict=True), 1):
        detector.observe(row[None], answer[None])
        line = row.astype(np.uint8).tobytes().hex()
        if count % EVERY == 0:
            on = detector.binned.alarms.any() or detector.classes.alarms.any()
            line += f"{int(on):02x}" + c_state(detector).hex()
        lines.append(line)
    return tuple(lines)


def c_state(detector: DriftDetector) -> bytes:
    """What the detector's state is in C, without the bounds of bets, which follow from it.

    As the program prints it: head, rows, counts of classes.
    """
    rows = len(detector.names)
    cells = rows * 16
    counts = [counts.astype(np.uint8) for counts in (detector._seen, detector._fresh)]
    seen, fresh = (one[:cells].reshape(16, rows).T for one in counts)
    head = detector._key[:4] + detector._age.to_bytes(4, "little")
    head += detector._parts[-1, -1].astype("<f4").tobytes()
    state = head + b"".join(
        seen[row].tobytes() + fresh[row].tobytes() + detector._parts[row].astype("<f4").tobytes()
        for row in range(rows)
    )
    return state + b"".join(one[cells:].tobytes() for one in counts)


def make() -> Vectors:
    """A continuous value, a scarce one, a count and a rare event; healthy, drifting, healthy."""
    rng = np.random.default_rng(17)
    raw = np.stack(
        [
            rng.normal(size=400),
            rng.choice([-1.5, 0.0, 0.1, 7.0], 400, p=[0.05, 0.6, 0.3, 0.05]),
            rng.poisson(4, 400),
        ],
        axis=1,
    ).astype(np.float32)
    contract = Contract(TensorSpec("x", (3,)), ("a", "b", "c"))
    reference = build_reference(
        contract, raw, rng.random(200).astype(np.float32), rng.choice(3, 200, p=[0.8, 0.15, 0.05])
    )
    seen = raw[rng.integers(0, 400, 300)]
    seen[100:180] = seen[100:180] * np.float32(1.2) + np.float32(0.7)
    seen[230:260] = np.float32(0.1)
    values = np.concatenate(
        (
            seen,
            seen.mean(axis=1, keepdims=True),
            seen.std(axis=1, keepdims=True),
            np.where(np.arange(300) < 120, rng.random(300), rng.random(300) ** 2)[:, None],
        ),
        axis=1,
    ).astype(np.float32)
    u = rng.random(values.shape, np.float32)
    answers = rng.choice(3, 300, p=[0.8, 0.15, 0.05]).astype(np.uint8)
    answers[200:240] = 2
    return Vectors(
        reference=reference.to_bytes().hex(),
        values=values.astype("<f4").tobytes().hex(),
        u=u.astype("<f4").tobytes().hex(),
        answers=answers.tobytes().hex(),
        lines=lines_of(reference, values, u, answers),
    )


if __name__ == "__main__":
    PATH.write_text(json.dumps(msgspec.to_builtins(make()), indent=1) + "\n")

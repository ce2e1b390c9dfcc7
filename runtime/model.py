"""`Model`: a bundle ready to answer. Raw samples in, labels and confidences out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .bundle import Bundle, open_bundle
from .c_library import library_of
from .contract import Contract, FloatArray
from .engines import FORMATS, Engine, OutputScale, open_engine
from .errors import EngineError
from .golden import Golden
from .manifest import Artifact
from .quant import real_logits, softmax
from .reference import Reference

Clock = Callable[[], int]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answers to n samples, and the model that gave them."""

    indices: npt.NDArray[np.int64]  # (n,)
    labels: tuple[str, ...]
    confidences: FloatArray  # (n,), probability of the answer
    probabilities: FloatArray  # (n, classes)
    bundle_id: str
    latency_us: float  # wall time per sample, from the contract's check to the labels


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """How far this device's engine is from the golden vectors."""

    vectors: int
    max_lsb: int  # steps of the output's scale
    mismatching_labels: int


class Model:
    """One artifact of a bundle in its engine; every method may be called from any thread."""

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        engine: Engine,
        clock_ns: Clock = time.perf_counter_ns,
    ) -> None:
        self.bundle_id = bundle.bundle_id
        self.contract: Contract = bundle.contract
        self.reference: Reference = bundle.reference()
        self.artifact = artifact
        self._golden: Golden = bundle.golden()
        self._engine = engine
        self._clock_ns = clock_ns

    @classmethod
    def open(cls, bundle: Bundle | Path | str, target: str = "host", engine: str = "") -> Model:
        """Load the artifact for `target` of a bundle, or of a bundle file.

        `engine` is litert, onnxruntime or c; without it the target's best format decides, and C
        where there is nothing else. C is loaded as the shared library that the bundle carries for
        machines like this one, else built from the bundle's sources with this machine's compiler.

        Raises:
            BundleError: the file is no bundle, or has nothing for this target or engine.
            EngineError: no engine here runs the artifact.
        """
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        artifact = opened.artifact(target, _format_of(engine))
        golden = opened.golden()
        output = OutputScale(golden.scale, golden.zero_point, golden.expected.dtype.name)
        return cls(
            opened, artifact, open_engine(artifact.format, runnable(opened, artifact), output)
        )

    def predict(self, raw: npt.ArrayLike) -> Prediction:
        """Answer samples (n, *input.shape), or one of shape input.shape, in raw units.

        Raises:
            ContractError: the samples break the contract.
            EngineError: the engine failed.
        """
        started = self._clock_ns()
        array = np.asarray(raw)
        single = array.ndim == len(self.contract.input.shape)
        samples = self.contract.check(array[None] if single else array)
        logits = self._engine.run(self.contract.preprocess(samples))
        self._check_width(logits.shape[1])
        golden = self._golden
        probabilities = softmax(real_logits(logits, golden.scale, golden.zero_point))
        # The first of equal logits, as every emitter and the reference do.
        indices = logits.argmax(axis=1)
        confidences = probabilities[np.arange(len(indices)), indices]
        labels = tuple(self.contract.classes[index] for index in indices)
        spent_us = (self._clock_ns() - started) / 1000 / max(len(samples), 1)
        return Prediction(indices, labels, confidences, probabilities, self.bundle_id, spent_us)

    def run_golden(self) -> GoldenResult:
        """Run the bundle's golden vectors through this engine.

        Raises:
            ContractError: the vectors break the bundle's own contract.
            EngineError: the engine failed.
        """
        golden = self._golden
        samples = self.contract.check(golden.inputs)
        found = self._engine.run(self.contract.preprocess(samples))
        self._check_width(golden.expected.shape[1])
        self._check_width(found.shape[1])
        flips = found.argmax(axis=1) != golden.expected.argmax(axis=1)
        return GoldenResult(len(found), golden.steps(found), int(flips.sum()))

    def _check_width(self, logits: int) -> None:
        classes = len(self.contract.classes)
        if logits != classes:
            raise EngineError(f"the artifact has {logits} outputs for {classes} classes")


def _format_of(engine: str) -> str:
    if engine and engine not in FORMATS:
        raise EngineError(f"no engine '{engine}'; there are: {', '.join(FORMATS)}")
    return FORMATS.get(engine, "")


def runnable(bundle: Bundle, artifact: Artifact) -> bytes:
    """The one file that the artifact's engine loads; C may be built for it.

    Raises:
        EngineError: C that has no shared library for this machine, and cannot be built here.
    """
    if artifact.format == "c":
        return library_of(bundle.below(artifact.path), bundle.source)
    return bundle.read(artifact.path)

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
from .choice import Choice, candidates_of, certificate_of, choose, this_machine
from .contract import Contract
from .engines import Engine, OutputScale, open_engine
from .entry import Entry
from .errors import EngineError
from .golden import Golden
from .manifest import Artifact
from .options import DEFAULT_OPTIONS, EngineOptions
from .prediction import Head, Prediction
from .reference import Reference

Clock = Callable[[], int]

TASK = "classification"


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """How far this device's engine is from the golden vectors."""

    vectors: int
    max_lsb: int  # steps of the output's scale
    mismatching_labels: int


class Model:
    """One artifact of a bundle in its engine; every method may be called from any thread.

    `why` says in a line how the artifact was chosen.
    """

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        engine: Engine,
        clock_ns: Clock = time.perf_counter_ns,
        why: str = "",
    ) -> None:
        self.bundle_id = bundle.bundle_id
        self.contract: Contract = bundle.contract
        self.reference: Reference = bundle.reference()
        self.artifact = artifact
        self.why = why
        self._golden: Golden = bundle.golden()
        self._engine = engine
        self._clock_ns = clock_ns
        self._check_outputs(engine.outputs)
        self._check_outputs(self._golden.expected.shape[1])
        scale, zero_point = self._golden.scale, self._golden.zero_point
        self._head = Head(self.bundle_id, self.contract.classes, scale, zero_point)
        self._shape = self.contract.input.shape
        self._lanes = engine.lanes
        self._ways = {
            lane: (Entry(self.contract, engine.input, lane.input).put, lane.run)
            for lane in engine.lanes.all
        }

    @classmethod
    def open(
        cls,
        bundle: Bundle | Path | str,
        target: str = "",
        engine: str = "",
        options: EngineOptions = DEFAULT_OPTIONS,
    ) -> Model:
        """Load the artifact of a bundle, or of a bundle file, that is best for this device.

        `target` and `engine` (litert, onnxruntime or c) narrow the choice; the rule is that of
        `choice.choose`. C is loaded as the shared library that the bundle carries for machines
        like this one, else built from the bundle's sources with this machine's compiler.

        Raises:
            BundleError: the file is no bundle, or has nothing for this target or engine.
            ContractError: the bundle's task is not classification.
            EngineError: no engine here runs the artifact.
        """
        opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        choice = choice_of(opened, target, engine)
        artifact = choice.artifact
        golden = opened.golden()
        output = OutputScale(golden.scale, golden.zero_point, golden.expected.dtype.name)
        loaded = open_engine(artifact.format, runnable(opened, artifact), output, options)
        return cls(opened, artifact, loaded, why=choice.why)

    def predict(self, raw: npt.ArrayLike) -> Prediction:
        """Answer a sample of shape input.shape, or samples (n, *input.shape), in raw units.

        Raises:
            ContractError: the samples break the contract.
            EngineError: the engine failed.
        """
        started = self._clock_ns()
        array = raw if type(raw) is np.ndarray else self.contract.array(raw)
        if array.shape != self._shape:
            return self._predict_shaped(array)
        lane = self._lanes.take()
        try:
            put, run = self._ways[lane]
            put(array)
            logits = run()
        finally:
            self._lanes.put(lane)
        spent_us = (self._clock_ns() - started) / 1000
        return Prediction.of_logits(logits, self._head, spent_us)

    def predict_batch(self, raw: npt.ArrayLike) -> Prediction:
        """Answer samples (n, *input.shape) in raw units; n may be 0.

        Raises:
            ContractError: the samples break the contract; none is answered.
            EngineError: the engine failed.
        """
        started = self._clock_ns()
        samples = self.contract.check(self.contract.array(raw))
        logits = self._engine.run(self.contract.preprocess(samples))
        spent_us = (self._clock_ns() - started) / 1000 / max(len(samples), 1)
        return Prediction.of_logits(logits, self._head, spent_us)

    def reset(self) -> None:
        """Forget what a model that remembers has seen: the next sample begins a recording."""
        self._engine.reset()

    def run_golden(self) -> GoldenResult:
        """Run the bundle's golden vectors through this engine, and forget them.

        Raises:
            ContractError: the vectors break the bundle's own contract.
            EngineError: the engine failed.
        """
        golden = self._golden
        samples = self.contract.check(golden.inputs)
        self._engine.reset()
        found = self._engine.run(self.contract.preprocess(samples))
        self._engine.reset()
        self._check_outputs(found.shape[1])
        flips = found.argmax(axis=1) != golden.expected.argmax(axis=1)
        return GoldenResult(len(found), golden.steps(found), int(flips.sum()))

    def _predict_shaped(self, array: npt.NDArray[np.generic]) -> Prediction:
        """What is no plain sample: one in a batch, a batch, or a mistake."""
        if array.shape == (1, *self._shape):
            return self.predict(array[0])
        alone = array.ndim == len(self._shape)
        return self.predict_batch(array[None] if alone else array)

    def _check_outputs(self, logits: int) -> None:
        classes = len(self.contract.classes)
        if logits != classes:
            raise EngineError(f"the artifact has {logits} outputs for {classes} classes")


def choice_of(bundle: Bundle, target: str = "", engine: str = "") -> Choice:
    """The artifact of a bundle that this device runs, and why.

    Raises:
        BundleError: it has nothing for this target or engine.
        ContractError: its task is not classification.
        EngineError: no engine here runs any of it.
    """
    bundle.contract.check_task(TASK)
    candidates = candidates_of(bundle, target, engine)
    return choose(candidates, certificate_of(bundle), this_machine(), bundle.source)


def runnable(bundle: Bundle, artifact: Artifact) -> bytes:
    """The one file that the artifact's engine loads; C may be built for it.

    Raises:
        EngineError: C that has no shared library for this machine, and cannot be built here.
    """
    if artifact.format == "c":
        return library_of(bundle.below(artifact.path), bundle.source)
    return bundle.read(artifact.path)

"""ONNX's own node tests as a conformance suite of the ONNX importer.

Every case of the installed `onnx` wheel is imported and run by the float interpreter; a case
passes where the result is the expected one within the suite's own tolerance. Integer inputs, which
are shapes, axes and indices, are bound to constants; where the importer asks for weights as
constants, all inputs but the first are.
"""

from __future__ import annotations

import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekiln.compiler.errors import CompileError, ImportModelError
from edgekiln.compiler.graph import Array
from edgekiln.compiler.importers.layout import Imported, Port
from edgekiln.compiler.importers.onnx import import_onnx
from edgekiln.compiler.interpret import run_all

from .figure import Figure, Scale

DEADLINE_S = 20.0
PASSED, REFUSED, WRONG, CRASHED = "passed", "refused", "wrong", "crashed"
_FIRST_LINE = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one case ended, and why where it did not pass; `ops` are those of its model."""

    case: str
    kind: str
    reason: str
    ops: tuple[str, ...]
    seconds: float


def run(scale: Scale) -> Iterator[Figure]:
    """How many cases pass, how many are refused by name, and that nothing else happens."""
    counts = Counter(outcome.kind for outcome in run_cases(node_cases()))
    yield Figure("ONNX node tests: passed", counts[PASSED], "cases", "exact")
    yield Figure("ONNX node tests: refused by name", counts[REFUSED], "cases", "exact")
    yield Figure("ONNX node tests: wrong", counts[WRONG], "cases", "exact", at_most=0)
    yield Figure("ONNX node tests: crashed", counts[CRASHED], "cases", "exact", at_most=0)


def node_cases() -> list[Any]:
    """All node test cases of the wheel, computed by it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return sorted(collect_testcases(None), key=lambda case: str(case.name))


def run_cases(cases: Iterable[Any]) -> list[Outcome]:
    """One outcome for each case."""
    return [run_case(case) for case in cases]


def run_case(case: Any) -> Outcome:
    """Import, run and compare one case."""
    started = time.perf_counter()
    try:
        with _deadline(DEADLINE_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reason = _difference(case)
        kind = WRONG if reason else PASSED
    except CompileError as error:
        kind, reason = REFUSED, str(error)
    except Exception as error:
        kind, reason = CRASHED, f"{type(error).__name__}: {error}"
    ops = tuple(
        sorted({f"{node.domain}.{node.op_type}".lstrip(".") for node in case.model.graph.node})
    )
    return Outcome(case.name, kind, reason, ops, time.perf_counter() - started)


def reason_of(outcome: Outcome) -> str:
    """The reason without the names and numbers of the case, for counting."""
    text = outcome.reason.removeprefix(f"{outcome.case}: ")
    text = re.sub(r"^node \d+ '[^']*' \((.*?)\) is not supported: ", r"\1: ", text)
    text = text.split(";")[0]
    return re.sub(r"'[^']*'", "'…'", re.sub(r"-?\d+(\.\d+)?", "#", text))[:_FIRST_LINE]


def report(outcomes: Iterable[Outcome]) -> str:
    """The counts, and why cases were refused, most frequent first."""
    outcomes = list(outcomes)
    counts = Counter(outcome.kind for outcome in outcomes)
    lines = [f"{counts[kind]:5} {kind}" for kind in (PASSED, REFUSED, WRONG, CRASHED)]
    reasons = Counter(reason_of(outcome) for outcome in outcomes if outcome.kind == REFUSED)
    lines += [f"{count:7} {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines)


def _difference(case: Any) -> str:
    """What is wrong with the result; empty where nothing is."""
    inputs, expected = case.data_sets[0]
    names = [value.name for value in case.model.graph.input]
    feeds = dict(zip(names, inputs, strict=False))
    imported, bound = _imported(case, feeds)
    actual = _run(imported, {name: x for name, x in feeds.items() if name not in bound})
    for port, wanted, got in zip(imported.outputs, expected, actual, strict=True):
        if not isinstance(wanted, np.ndarray | np.generic):
            return f"{port.name} is a {type(wanted).__name__}"
        if got.shape != wanted.shape:
            return f"{port.name} has shape {got.shape}, not {wanted.shape}"
        if not np.allclose(got, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True):
            return f"{port.name} differs by {np.abs(got - wanted).max():g}"
    return ""


def _imported(case: Any, feeds: dict[str, Array]) -> tuple[Imported, set[str]]:
    data = case.model.SerializeToString()
    arrays = {name for name, x in feeds.items() if isinstance(x, np.ndarray | np.generic)}
    integers = {name for name in arrays if not _is_float(feeds[name])}
    if integers == set(feeds):
        integers = set()  # nothing would be left to compute: the importer says what it lacks
    bound = integers
    while True:
        try:
            return _bound(case, data, feeds, bound), bound
        except ImportModelError as error:
            asked = re.search(r"'([^']+)' is computed, bind it to a constant", str(error))
            more = bound | ({asked[1]} & arrays if asked else set())
            if more == bound:
                raise
            bound = more


def _bound(case: Any, data: bytes, feeds: dict[str, Array], bound: set[str]) -> Imported:
    return import_onnx(data, case.name, {name: np.asarray(feeds[name]) for name in bound})


def _is_float(x: object) -> bool:
    return isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f"


def _run(imported: Imported, feeds: dict[str, Array]) -> list[Array]:
    values = run_all(
        imported.graph,
        {port.value: port.to_graph(np.asarray(feeds[port.name])) for port in imported.inputs},
    )
    return [_result(imported, port, values) for port in imported.outputs]


def _result(imported: Imported, port: Port, values: dict[str, Array]) -> Array:
    known = values.get(port.value)
    return port.from_graph(imported.graph.constant(port.value) if known is None else known)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def expire(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":  # python -m benchmarks.onnx_nodes
    print(report(run_cases(node_cases())))

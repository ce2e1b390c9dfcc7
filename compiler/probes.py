"""`calibrate`: cost tables for a target from small models that are run there now.

On `host` models are timed (T3) in every engine that its formats name, on one thread as the runtime
runs them, and the parts of the engines' kernels are priced; for a microcontroller their C is
emulated and the loops of its kernels are priced in instructions, which become time through the
profile's cycles per instruction (T2). Each engine gets its own table: no engine's times say much
about another's. The interval of a table is that of whole networks that took no part in the fit.
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.c_library import c_compiler
from edgekiln.targets.calibration_journal import CalibrationJournal, Figures
from edgekiln.targets.core_costs import timed_table
from edgekiln.targets.emulate import latency_from_instructions, machine_of
from edgekiln.targets.engines import engine_of
from edgekiln.targets.errors import MeasurementError
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fit import Sample, fit_cost_table
from edgekiln.targets.fit_loops import fit_loops
from edgekiln.targets.target import CostTable, Evidence, OpCost, Target

from .calibration_measure import Measure, Measuring, time_on_host
from .calibration_plan import Plan, PlannedModel, host_plan, loops_plan
from .emit_c_family import family_of_core
from .engine_calibration import ENGINE_FORMATS, Form, engine_table, time_probes
from .graph import Graph
from .kernel_loops import LOOP_FAMILIES
from .layer_counts import counted_model
from .ops import RECURRENT, Op
from .oracles import distribution_version, tool_version
from .probe_models import more_probes, probe_graphs
from .workload import workload

__all__ = ["Measure", "Measuring", "calibrate", "more_probes", "probe_graphs", "time_on_host"]


@dataclass(frozen=True, slots=True)
class _Fitted:
    """One engine's table and what it stands on."""

    table: CostTable
    evidence: Evidence


Measured = Sequence[tuple[PlannedModel, Figures]]


def calibrate(
    target: Target,
    seed: int = 0,
    ops: Collection[str] = (),
    formats: Sequence[str] = (),
    measuring: Measuring | None = None,
    dtypes: Sequence[str] = ("int8",),
) -> Target:
    """`target` with a new cost table first for every engine that can run here.

    Engines are those of `formats`, by default of the target's own but the optional ones. Tables
    are for int8; `dtypes` may ask for LiteRT's in float32 too.

    `ops` are operators of a model beyond those of the usual probes: they are probed as well where
    the class of device can run them from here.

    A table and evidence of an earlier calibration give way to the new ones.

    Raises MeasurementError where probes of this class cannot run here or the journal is another
    calibration's, MissingToolError where the emulator is not installed.
    """
    how = measuring or Measuring()
    asked = formats or target.formats
    measures = {fmt: how.measure(target.device_class, fmt) for fmt in asked}
    able = {fmt: measure for fmt, measure in measures.items() if measure is not None}
    if not able:
        msg = (
            f"target '{target.id}' is of class {target.device_class} with the formats "
            f"{', '.join(asked)}, which cannot be measured from here; "
            f"calibrate `host` on the device itself"
        )
        raise MeasurementError(msg)
    sources = {fmt: _source(target, fmt) for fmt in able}
    journal = CalibrationJournal(how.journal, _identity(target, seed, sources.values()))
    whole = {fmt: m for fmt, m in able.items() if not _is_engine(target, fmt)}
    fits = _engine_fits(target, able, dtypes, journal, seed, ops, how)
    if whole:
        fits += _whole_fits(target, whole, journal, seed, ops, how)
    renewed = {fit.evidence.id for fit in fits}
    older = (table for table in target.costs if table.evidence_id not in renewed)
    known = (item for item in target.evidence if item.id not in renewed)
    return dataclasses.replace(
        target,
        costs=(*(fit.table for fit in fits), *older),
        evidence=(*known, *(fit.evidence for fit in fits)),
    )


def _is_engine(target: Target, fmt: str) -> bool:
    """Whether kernels of an engine are priced, rather than whole models or our own loops."""
    return target.device_class == "host" and fmt in ENGINE_FORMATS


def _engine_fits(
    target: Target,
    able: Mapping[str, Measure],
    dtypes: Sequence[str],
    journal: CalibrationJournal,
    seed: int,
    ops: Collection[str],
    how: Measuring,
) -> list[_Fitted]:
    """Tables of engines of this host, with prices of their kernels' parts."""
    forms = {
        Form(fmt, dtype): measure
        for fmt, measure in able.items()
        for dtype in dtypes
        if _is_engine(target, fmt) and (dtype == "int8" or fmt == "tflite")
    }
    if not forms:
        return []
    measured = time_probes(target, forms, journal, seed, ops, how)
    fits = []
    for form, models in measured.items():
        engine = engine_of(target, form.format)
        held = sum(1 for model in models.values() if model.family)
        evidence = Evidence(
            id=f"probes-{engine}{'' if form.dtype == 'int8' else '-' + form.dtype}",
            tier=Tier.T3,
            source=(
                f"{len(models) - held} probes of kernels, held to {held} networks of families that "
                f"they do not hold, {_source(target, form.format)}; "
                f"edgekiln targets calibrate {target.id} --seed {seed}"
            ),
        )
        table = engine_table(target, form, list(models.values()), evidence)
        fits.append(_Fitted(table, evidence))
    return fits


def _whole_fits(
    target: Target,
    able: dict[str, Measure],
    journal: CalibrationJournal,
    seed: int,
    ops: Collection[str],
    how: Measuring,
) -> list[_Fitted]:
    """Tables of generated C, from whole models or loops."""
    family = family_of_core(target.core)
    by_loops = target.device_class == "mcu" and family in LOOP_FAMILIES
    plan = loops_plan(family, seed) if by_loops else host_plan(seed, ops)
    measured = _measured(plan, target, able, journal, how)
    return [_fitted(target, fmt, measured[fmt], _source(target, fmt), seed) for fmt in able]


def _identity(target: Target, seed: int, sources: Iterable[str]) -> str:
    return f"target {target.id} ({target.core}), seed {seed}: {'; '.join(sources)}"


def _measured(
    plan: Plan,
    target: Target,
    measures: dict[str, Measure],
    journal: CalibrationJournal,
    how: Measuring,
) -> dict[str, list[tuple[PlannedModel, Figures]]]:
    """Figures by format; the budget is looked at before each model that is not needed."""
    done: dict[str, list[tuple[PlannedModel, Figures]]] = {fmt: [] for fmt in measures}
    ends = math.inf if how.budget_s is None else how.clock() + how.budget_s
    total = len(plan.probes) + len(plan.networks)
    needed = {model.key for model in plan.needed}
    for number, model in enumerate((*plan.needed, *plan.wanted), 1):
        if model.key not in needed and how.clock() >= ends:
            how.say(f"the budget is spent after {number - 1} of {total} models")
            break
        for fmt, measure in measures.items():
            if not _has_form(model.graph, fmt):
                continue
            key = f"{fmt}, {model.key}"
            figures = journal.figures(key)
            if figures is None:
                figures = measure(model.graph, target)
                journal.append(key, figures)
            done[fmt].append((model, figures))
        if number % 10 == 0:
            how.say(f"{number} of {total} models measured")
    return done


def _has_form(graph: Graph, fmt: str) -> bool:
    """Whether the format can say the probe: ONNX lacks operators along time."""
    return fmt != "onnx" or RECURRENT.isdisjoint(node.op for node in graph.nodes)


def _fitted(target: Target, fmt: str, measured: Measured, source: str, seed: int) -> _Fitted:
    engine = engine_of(target, fmt)
    fit, held = (
        [(model.graph, figures) for model, figures in measured if model.held_out is held_out]
        for held_out in (False, True)
    )
    evidence = Evidence(
        id=f"probes-{engine}",
        tier=Tier.T2 if target.device_class == "mcu" else Tier.T3,
        source=(
            f"{len(fit)} probe models chosen by D-optimal design, held to {len(held)} networks, "
            f"{source}; edgekiln targets calibrate {target.id} --seed {seed}"
        ),
    )
    if target.device_class == "mcu" and family_of_core(target.core) in LOOP_FAMILIES:
        return _Fitted(_of_loops(target, fit, held, evidence.id), evidence)
    probes, networks = (
        [Sample(workload(graph), _microseconds(target, figures)) for graph, figures in part]
        for part in (fit, held)
    )
    table = fit_cost_table(probes, engine, "int8", evidence.tier, evidence.id, networks)
    return _Fitted(_widened(table, target) if table.tier is Tier.T2 else table, evidence)


def _microseconds(target: Target, figures: Figures) -> float:
    """Of instructions, layer by layer, the time of them all; else the time that was measured."""
    if target.device_class != "mcu":
        return figures[0]
    return latency_from_instructions(target, int(sum(figures))).value * 1e3


def _widened(table: CostTable, target: Target) -> CostTable:
    """Instructions are exact, cycles per instruction are not: their interval adds to the fit's."""
    assert target.cycles_per_instruction is not None
    low, value, high = target.cycles_per_instruction
    return dataclasses.replace(
        table,
        low_ratio=table.low_ratio * low / value,
        high_ratio=table.high_ratio * high / value,
    )


_FREE = {Op.RESHAPE.value: OpCost(0.0, 0.0, 0.0, loops={"reshape_call": 0.0})}
Counts = Sequence[tuple[Graph, Figures]]


def _of_loops(target: Target, fit: Counts, held: Counts, evidence_id: str) -> CostTable:
    family = family_of_core(target.core)
    probes, networks = (
        [counted_model(graph, family, figures) for graph, figures in part] for part in (fit, held)
    )
    if target.cycles_per_instruction is None:
        msg = f"target '{target.id}' states no cycles_per_instruction; add it to its profile"
        raise MeasurementError(msg)
    counted = fit_loops(probes, networks, evidence_id)
    ops = {**counted.ops, **_FREE}
    counted = dataclasses.replace(counted, ops=ops, samples=len(probes))
    return timed_table(counted, target.clock_hz, target.cycles_per_instruction)


def _source(target: Target, fmt: str) -> str:
    """What measures, with its versions: enough to do it again."""
    engine = engine_of(target, fmt)
    if engine == "c" and target.device_class == "host":
        return f"generated C, {tool_version(c_compiler() or 'cc')}, one thread of {_processor()}"
    if engine == "c":
        tools = (tool_version(tool) for tool in machine_of(target).tools if tool != "gcc")
        return f"generated C, instructions under emulation, {', '.join(tools)}"
    version = distribution_version(_DISTRIBUTIONS[engine])
    return f"{_DISTRIBUTIONS[engine]} {version}, one thread of {_processor()}"


_DISTRIBUTIONS = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}


def _processor() -> str:
    """The processor's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()

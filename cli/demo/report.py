"""The demo's HTML report and its summary on the terminal, both from `DemoResult`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.manifest import EstimateRecord
from edgekiln.targets import Tier

from .result import DemoResult, FrontMember

TEMPLATES = Path(__file__).parent.parent / "templates"
WIDTH, HEIGHT, MARGIN = 380, 240, 44
WORSE_THAN_BASELINE = 0.1  # in accuracy


@dataclass(frozen=True, slots=True)
class Dot:
    """A front member placed in the picture; `x`, `y` in SVG units, `x_low` to `x_high` its bar."""

    member: FrontMember
    x: float
    y: float
    x_low: float
    x_high: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One target's front: accuracy over latency, logarithmic in latency.

    `below` counts members too inaccurate to be drawn without squashing the rest.
    """

    target: str
    word: str  # measured | emulated | estimated
    tier: str
    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    below: int
    width: int = WIDTH
    height: int = HEIGHT
    margin: int = MARGIN


def tier_word(record: EstimateRecord) -> str:
    """The word that this evidence allows, with its tier: `emulated T2`."""
    return f"{Tier[record.tier].word} {record.tier}"


def picture(target: str, members: tuple[FrontMember, ...]) -> Picture:
    """Lay out one target's front; what is much worse than the baseline is counted, not drawn."""
    floor = min(m.accuracy for m in members if m.kind == "baseline") - WORSE_THAN_BASELINE
    drawn = [m for m in members if m.accuracy >= floor]
    lows = [m.latency.low for m in drawn]
    highs = [m.latency.high for m in drawn]
    left, right = math.log10(max(min(lows), 1e-6)) - 0.1, math.log10(max(highs)) + 0.1
    bottom = min(m.accuracy for m in drawn) - 0.005
    top = min(1.0, max(m.accuracy for m in drawn) + 0.005)

    def x_of(value: float) -> float:
        share = (math.log10(max(value, 1e-6)) - left) / (right - left)
        return MARGIN + share * (WIDTH - MARGIN - 12)

    def y_of(value: float) -> float:
        return HEIGHT - MARGIN - (value - bottom) / (top - bottom) * (HEIGHT - MARGIN - 12)

    dots = tuple(
        Dot(m, x_of(m.latency.value), y_of(m.accuracy), x_of(m.latency.low), x_of(m.latency.high))
        for m in drawn
    )
    steps = [left + (right - left) * i / 3 for i in range(4)]
    x_ticks = tuple(Tick(x_of(10**step), f"{10**step:.2g}") for step in steps)
    marks = [bottom + (top - bottom) * i / 3 for i in range(4)]
    y_ticks = tuple(Tick(y_of(mark), f"{mark:.3f}") for mark in marks)
    latency = drawn[0].latency
    return Picture(
        target=target,
        word=Tier[latency.tier].word,
        tier=latency.tier,
        dots=dots,
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        below=len(members) - len(drawn),
    )


def write_report(path: Path, result: DemoResult) -> None:
    """Render the report; the file replaces an older one at once or not at all."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from edgekiln.runtime.files import write_atomic

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["tier_word"] = tier_word
    names = dict.fromkeys(member.target for member in result.search.front)
    pictures = tuple(
        picture(name, tuple(m for m in result.search.front if m.target == name)) for name in names
    )
    html = environment.get_template("report.html").render(result=result, pictures=pictures)
    write_atomic(path, html.encode())


def summary(result: DemoResult) -> list[str]:
    """The lines that the terminal shows at the end."""
    search, drift, rollback = result.search, result.drift, result.rollback
    lines = [
        f"search    {search.candidates} candidates, {search.rejected} rejected before training "
        f"({', '.join(f'{name} refuses {n}' for name, n in search.refused.items())}), "
        f"{search.trained} trained in {search.wall_s:.0f} s; "
        f"scikit-learn baseline {search.baseline_accuracy:.1%}",
    ]
    lines += [
        f"compile   {item.target:<15} {item.format:<7} {item.bytes:>7,} B  "
        f"float {item.accuracy_float:.1%}  int8 {item.accuracy_int8:.1%}  "
        f"latency {item.latency.value:.3g} ms (≤ {item.latency.high:.3g}), "
        f"{tier_word(item.latency)}"
        for item in result.compile
    ]
    lines += [
        f"test      {result.test.samples} sealed samples, opened once: "
        f"int8 {result.test.accuracy_int8:.1%}, baseline {result.test.baseline_accuracy:.1%}",
        f"rollout   {result.rollout.committed} of {result.rollout.devices} devices committed "
        f"in {result.rollout.waves} waves, {result.rollout.wall_s:.0f} s",
        f"drift     {drift.summary} ({drift.seconds_to_alert:.0f} s after the change; "
        f"{drift.false_alerts} false alerts)",
        f"rollback  {rollback.exposed_devices} exposed, {rollback.restored_devices} restored, "
        f"{rollback.untouched_devices} never ran it: {rollback.decision}",
    ]
    lines += [f"note      {note}" for note in result.notes]
    lines.append(f"all       {result.wall_s:.0f} s, {result.peak_rss_mb:.0f} MB at the peak")
    return lines

"""Pages of `edgekiln targets`: tables, and where a model fits. No network, no scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .targets_check import CheckDocument, CheckRow, latency_text
from .targets_tables import Table

if TYPE_CHECKING:
    from edgekiln.runtime.manifest import EstimateRecord

TEMPLATES = Path(__file__).parent / "templates"
CHART_WIDTH, CHART_HEIGHT = 260, 18


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate on the page's logarithmic axis, in SVG units."""

    low: float
    value: float
    high: float
    limit: float | None
    tier: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A power of ten on the axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Meter:
    """Bytes against their limit; `share` in percent, at most 100."""

    text: str
    share: float
    over: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One row of the page."""

    row: CheckRow
    latency: str
    interval: Interval | None
    ram: Meter | None
    flash: Meter | None


@dataclass(frozen=True, slots=True)
class CheckPage:
    """Everything that the template shows; `fitting` of `targets` run the model in some format."""

    document: CheckDocument
    rows: tuple[Shown, ...]
    ticks: tuple[Tick, ...]
    targets: int
    fitting: int
    unknown: int
    chart_width: int = CHART_WIDTH
    chart_height: int = CHART_HEIGHT


def render_tables(title: str, tables: Sequence[Table]) -> str:
    """Tables under a title."""
    return render("targets.html", title=title, tables=tables)


def render_check(document: CheckDocument) -> str:
    """Where a model fits, the fastest first."""
    return render("targets_check.html", page=check_page(document))


def check_page(document: CheckDocument) -> CheckPage:
    """What is shown, laid out: what fits by rising latency, then the unknown, then the rest."""
    low, high = _decades(document.rows)
    ordered = sorted(document.rows, key=_place)
    runs = {row.target for row in document.rows if row.fits}
    return CheckPage(
        document=document,
        rows=tuple(_shown(row, low, high) for row in ordered),
        ticks=tuple(Tick(_at(10.0**n, low, high), _ms(10.0**n)) for n in range(low, high + 1)),
        targets=len({row.target for row in document.rows}),
        fitting=len(runs),
        unknown=sum(row.latency is None for row in document.rows),
    )


def _place(row: CheckRow) -> tuple[bool, bool, float, str]:
    latency = math.inf if row.latency is None else row.latency.value
    return not row.fits, row.latency is None, latency, row.target


def _decades(rows: Sequence[CheckRow]) -> tuple[int, int]:
    """Powers of ten in ms that hold every interval."""
    known = [row.latency for row in rows if row.latency is not None]
    if not known:
        return 0, 1
    low = math.floor(_power(min(item.low for item in known)))
    high = math.ceil(_power(max(item.high for item in known)))
    return low, max(high, low + 1)


def _power(value_ms: float) -> float:
    """Of ten; no time counts as less than a nanosecond."""
    return math.log10(max(value_ms, 1e-6))


def _at(value_ms: float, low: int, high: int) -> float:
    place = (_power(value_ms) - low) / (high - low)
    return CHART_WIDTH * min(1.0, max(0.0, place))


def _ms(value_ms: float) -> str:
    return f"{value_ms / 1e3:g} s" if value_ms >= 1e3 else f"{value_ms:g} ms"


def _shown(row: CheckRow, low: int, high: int) -> Shown:
    return Shown(
        row=row,
        latency=latency_text(row.latency),
        interval=None if row.latency is None else _interval(row, row.latency, low, high),
        ram=_meter(row.ram, row.ram_limit_bytes),
        flash=_meter(row.flash, row.flash_limit_bytes),
    )


def _interval(row: CheckRow, latency: EstimateRecord, low: int, high: int) -> Interval:
    limit = row.latency_limit_ms
    return Interval(
        low=_at(latency.low, low, high),
        value=_at(latency.value, low, high),
        high=_at(latency.high, low, high),
        limit=None if limit is None else _at(limit, low, high),
        tier=latency.tier,
    )


def _meter(size: EstimateRecord | None, limit: int | None) -> Meter | None:
    if size is None or limit is None:
        return None
    text = f"{size.value:,.0f} of {limit:,}"
    share = 100 * size.value / limit if limit else 100.0
    return Meter(text, min(100.0, share), size.value > limit)


def render(template: str, **values: object) -> str:
    """A page of the folder of templates; what is put in is escaped."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    return environment.get_template(template).render(**values)

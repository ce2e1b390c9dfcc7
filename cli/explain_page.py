"""The page of `edgekiln targets explain`: flames of time and bytes, the arena as a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .inspect_page import family_of
from .targets_explain import ExplainDocument, verdict_text
from .targets_page import render

if TYPE_CHECKING:
    from edgekiln.compiler.explain import Explanation, LayerShare

WIDTH = 1240
ROW = 26  # height of a row of a flame
MAP_HEIGHT = 220
_LETTER = 6.6  # of a text, in SVG units


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with a text that fits into it, a hint, and the family that colours it."""

    x: float
    y: float
    width: float
    height: float
    text: str
    hint: str
    family: str


@dataclass(frozen=True, slots=True)
class Flame:
    """The whole above its operators above their layers, as wide as their shares."""

    title: str
    boxes: tuple[Box, ...]
    height: int = 3 * ROW


@dataclass(frozen=True, slots=True)
class ExplainPage:
    """Everything that the template shows."""

    document: ExplainDocument
    verdict: str
    flames: tuple[Flame, ...]
    arena: tuple[Box, ...]
    shares: tuple[float, ...]  # of each layer's time (or work), of the largest, in percent
    families: tuple[str, ...]
    width: int = WIDTH
    map_height: int = MAP_HEIGHT


def render_explanation(document: ExplainDocument) -> str:
    """The page as text; names are escaped."""
    return render("targets_explain.html", page=explain_page(document))


def explain_page(document: ExplainDocument) -> ExplainPage:
    """What is shown, laid out."""
    found = document.explanation
    timed = found.tier is not None
    main: Callable[[LayerShare], float] = _time if timed else _macs
    unit = f"Time ({found.tier})" if timed else "Multiply-accumulates: time is not known"
    largest = max((main(layer) for layer in found.layers), default=0.0) or 1.0
    return ExplainPage(
        document=document,
        verdict=verdict_text(document.whole),
        flames=(
            _flame(unit, found.layers, main, _time_text if timed else _macs_text),
            _flame("Constants: weights and biases", found.layers, _constants, _bytes_text),
        ),
        arena=_arena(found),
        shares=tuple(100 * main(layer) / largest for layer in found.layers),
        families=tuple(dict.fromkeys(family_of(layer.op) for layer in found.layers)),
    )


def _time(layer: LayerShare) -> float:
    return layer.time_us or 0.0


def _macs(layer: LayerShare) -> float:
    return float(layer.macs)


def _constants(layer: LayerShare) -> float:
    return float(layer.constant_bytes)


def _time_text(time_us: float) -> str:
    return f"{time_us / 1e3:.3g} ms"


def _macs_text(macs: float) -> str:
    return f"{macs:,.0f} MACs"


def _bytes_text(nbytes: float) -> str:
    return f"{nbytes:,.0f} bytes"


def _flame(
    title: str,
    layers: Sequence[LayerShare],
    weight: Callable[[LayerShare], float],
    text: Callable[[float], str],
) -> Flame:
    total = sum(weight(layer) for layer in layers)
    if not total:
        return Flame(title, ())
    boxes = [_box(0, 0, WIDTH, f"all, {text(total)}", "all", "move")]
    by_op: dict[str, list[tuple[int, LayerShare]]] = {}
    for number, layer in enumerate(layers, start=1):
        by_op.setdefault(layer.op, []).append((number, layer))
    x = 0.0
    for op, members in sorted(by_op.items(), key=lambda item: -sum(weight(m) for _, m in item[1])):
        amount = sum(weight(layer) for _, layer in members)
        family, width = family_of(op), WIDTH * amount / total
        hint = f"{op}: {text(amount)}, {amount / total:.1%}"
        boxes.append(_box(x, ROW, width, op, hint, family))
        for number, layer in members:
            part = WIDTH * weight(layer) / total
            hint = f"{number} {layer.op}: {text(weight(layer))}, {weight(layer) / total:.1%}"
            boxes.append(_box(x, 2 * ROW, part, str(number), f"{hint}\n{layer.name}", family))
            x += part
    return Flame(title, tuple(box for box in boxes if box.width > 0))


def _box(x: float, y: float, width: float, text: str, hint: str, family: str) -> Box:
    shown = text if len(text) * _LETTER + 8 <= width else ""
    return Box(x, y, max(0.0, width - 0.8), ROW - 2, shown, hint, family)


def _arena(found: Explanation) -> tuple[Box, ...]:
    """Values as rectangles: layers from left to right, bytes from the foot upwards."""
    steps, size = max(1, len(found.layers)), max(1, found.arena_bytes)
    across, up = WIDTH / steps, MAP_HEIGHT / size
    ops = {number: layer.op for number, layer in enumerate(found.layers, start=1)}
    boxes = []
    for block in found.blocks:
        height = max(1.0, block.nbytes * up)
        width = (block.last - block.first + 1) * across
        hint = (
            f"{block.name}\n{block.nbytes:,} bytes at {block.offset:,}, "
            f"layers {block.first} to {block.last}"
        )
        text = f"{block.nbytes:,}"
        boxes.append(
            Box(
                x=(block.first - 1) * across,
                y=MAP_HEIGHT - block.offset * up - height,
                width=max(1.0, width - 0.8),
                height=height,
                text=text if len(text) * _LETTER + 8 <= width and height >= 12 else "",
                hint=hint,
                family=family_of(ops[block.first]),
            )
        )
    return tuple(boxes)

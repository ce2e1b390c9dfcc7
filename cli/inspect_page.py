"""`edgekiln inspect --html`: one page without network or scripts, from a `Description`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .graph_layout import BOX_HEIGHT, BOX_WIDTH, MOST_BOXES, Layout, Vertex, lay_out

if TYPE_CHECKING:
    from edgekiln.compiler.inspect_facts import Description, Histogram, LayerDescription

TEMPLATES = Path(__file__).parent / "templates"
CHART_WIDTH, CHART_HEIGHT = 128, 26
_LONGEST_OP, _LONGEST_SHAPE = 20, 24

# family -> words in an operator's name, the first that fits
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "format": ("quantize", "cast"),
    "window": ("pool", "resize"),
    "product": ("conv", "fully_connected", "gemm", "matmul", "linear", "lstm", "gru"),
    "reduction": ("softmax", "mean", "sum", "reduce", "arg_max", "argmax", "norm"),
    "activation": ("relu", "sigmoid", "logistic", "tanh", "gelu", "elu", "swish", "clip"),
    "element": ("add", "sub", "mul", "div", "min", "max", "exp", "sqrt", "abs", "less", "pow"),
    "move": (
        *("pad", "reshape", "transpose", "concat", "slice", "gather", "split", "pack", "flatten"),
        *("view", "squeeze", "expand", "shape", "permute"),
    ),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin of a histogram, in SVG units."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Row:
    """One layer as the page shows it; shares are of the largest layer, in percent."""

    number: int
    layer: LayerDescription
    family: str
    op: str
    shape: str
    macs_share: float
    bytes_share: float
    bars: tuple[Bar, ...]
    hint: str


@dataclass(frozen=True, slots=True)
class Family:
    """A row of the legend."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Page:
    """Everything that the template shows."""

    found: Description
    rows: tuple[Row, ...]
    families: tuple[Family, ...]
    layout: Layout
    left_out: int  # of the picture
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT
    chart_width: int = CHART_WIDTH
    chart_height: int = CHART_HEIGHT


def render_page(found: Description) -> str:
    """The page as text; names from the file are escaped."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    return environment.get_template("inspect.html").render(page=page_of(found))


def page_of(found: Description) -> Page:
    """What is shown, laid out."""
    most_macs = max((layer.macs for layer in found.layers), default=0)
    most_bytes = max((layer.weight_bytes for layer in found.layers), default=0)
    rows = tuple(
        _row(number, layer, most_macs, most_bytes)
        for number, layer in enumerate(found.layers, start=1)
    )
    counts = Counter(row.family for row in rows)
    layout = lay_out([Vertex(layer.inputs, layer.output) for layer in found.layers])
    return Page(
        found,
        rows,
        tuple(Family(name, count) for name, count in counts.most_common()),
        layout,
        max(0, len(rows) - MOST_BOXES),
    )


def family_of(op: str) -> str:
    """The family of an operator's name in any format."""
    name = op.lower()
    return next(
        (family for family, words in FAMILIES.items() if any(word in name for word in words)),
        "other",
    )


def _row(number: int, layer: LayerDescription, most_macs: int, most_bytes: int) -> Row:
    return Row(
        number=number,
        layer=layer,
        family=family_of(layer.op),
        op=_short(layer.op, _LONGEST_OP),
        shape=_short("×".join(str(size) for size in layer.shape), _LONGEST_SHAPE),
        macs_share=100 * layer.macs / most_macs if most_macs else 0.0,
        bytes_share=100 * layer.weight_bytes / most_bytes if most_bytes else 0.0,
        bars=() if layer.histogram is None else _bars(layer.histogram),
        hint=_hint(layer),
    )


def _hint(layer: LayerDescription) -> str:
    """What a pointer over a box shows."""
    dims = "×".join(str(size) for size in layer.shape)
    lines = [layer.name, f"{layer.op}: {dims} {layer.dtype}", layer.quantization]
    if layer.weights:
        lines.append(f"weights {layer.weights}")
    lines.append(f"{layer.macs:,} MACs, {layer.weight_bytes:,} bytes of weights")
    return "\n".join(line for line in lines if line)


def _bars(spread: Histogram) -> tuple[Bar, ...]:
    """Heights by the square root of counts, so that tails are seen."""
    tallest = max(spread.counts) or 1
    width = CHART_WIDTH / len(spread.counts)
    bars = []
    for index, count in enumerate(spread.counts):
        height = (count / tallest) ** 0.5 * CHART_HEIGHT
        bars.append(Bar(index * width, CHART_HEIGHT - height, width - 0.6, height))
    return tuple(bars)


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

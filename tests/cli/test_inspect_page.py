"""The page of a model: every operator in its place, nothing from the file that runs."""

from __future__ import annotations

import html.parser
import itertools
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekiln.cli.graph_layout import BOX_HEIGHT, BOX_WIDTH, Vertex, lay_out
from edgekiln.cli.inspect_page import family_of, page_of, render_page
from edgekiln.compiler.inspect_facts import Description, Histogram, LayerDescription


def chain(length: int) -> list[Vertex]:
    return [Vertex((f"v{index}",), f"v{index + 1}") for index in range(length)]


def branching(seed: int, length: int = 100) -> list[Vertex]:
    rng = random.Random(seed)
    return [
        Vertex(tuple(f"v{rng.randrange(max(0, i - 4), i + 1)}" for _ in range(2)), f"v{i + 1}")
        for i in range(length)
    ]


def description(layers: tuple[LayerDescription, ...]) -> Description:
    return Description("/a/<i>model</i>.tflite", "tflite", ("input <b>x</b>",), layers, 1234)


def layer(name: str, op: str = "conv_2d", inputs: tuple[str, ...] = ("x",)) -> LayerDescription:
    spread = Histogram(-1.0, 1.0, (1, 4, 9, 0), "values")
    return LayerDescription(
        name, op, (1, 8, 8, 4), "int8", 100, 36, "scale 0.1", inputs, name, "", spread
    )


@pytest.mark.parametrize("vertices", [chain(100), *(branching(seed) for seed in range(5))])
def test_boxes_never_overlap_and_stay_in_the_picture(vertices: list[Vertex]) -> None:
    layout = lay_out(vertices)
    assert [box.index for box in layout.boxes] == list(range(len(vertices)))
    for box in layout.boxes:
        assert 0 <= box.x <= layout.width - BOX_WIDTH
        assert 0 <= box.y <= layout.height - BOX_HEIGHT
    for index, one in enumerate(layout.boxes):
        for other in layout.boxes[index + 1 :]:
            apart = abs(one.x - other.x) >= BOX_WIDTH or abs(one.y - other.y) >= BOX_HEIGHT
            assert apart, (one, other)


def test_every_operand_that_an_operator_wrote_has_an_edge() -> None:
    vertices = branching(1)
    pairs = {
        (name, vertex.output)
        for vertex in vertices
        for name in vertex.inputs
        if any(name == other.output for other in vertices)
    }
    assert len(lay_out(vertices).edges) == len(pairs)


def test_chain_goes_down_and_on_in_the_next_strip() -> None:
    boxes = lay_out(chain(40)).boxes
    strips = sorted({box.x for box in boxes})
    assert 1 < len(strips) <= 6
    for one, other in itertools.pairwise(boxes):
        assert other.y > one.y or other.x > one.x


def test_cycle_and_self_loop_are_drawn_forward_when_a_file_has_them() -> None:
    looped = [Vertex(("b", "a"), "a"), Vertex(("a", "b"), "b"), Vertex(("a",), "a")]
    assert len(lay_out(looped).edges) == 2
    assert lay_out([]).boxes == ()


@pytest.mark.parametrize(
    ("op", "family"),
    [
        ("conv_2d", "product"),
        ("DepthwiseConv", "product"),
        ("average_pool_2d", "window"),
        ("dequantize", "format"),
        ("hard_swish", "activation"),
        ("softmax", "reduction"),
        ("concatenation", "move"),
        ("aten.sigmoid.default", "activation"),
        ("custom 'x'", "other"),
    ],
)
def test_family_is_known_when_the_name_is_of_any_format(op: str, family: str) -> None:
    assert family_of(op) == family


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href")
        ]


def test_page_needs_nothing_from_elsewhere_and_runs_nothing_of_the_file() -> None:
    evil = layer("<script>alert(1)</script>", "<img src=x onerror=alert(1)>")
    text = render_page(description((layer("a"), evil)))
    page = _Page()
    page.feed(text)
    assert {"script", "img", "link", "iframe"} & set(page.tags) == set()
    assert all(source.startswith("#layer-") for source in page.sources)
    assert "http" not in text
    assert "&lt;script&gt;" in text
    assert page.tags.count("tr") == 3


def test_bars_are_shares_of_the_largest_layer() -> None:
    small = LayerDescription("b", "add", (1, 4), "int8", 25, 0, "", ("a",), "b")
    rows = page_of(description((layer("a"), small))).rows
    assert [row.macs_share for row in rows] == [100.0, 25.0]
    assert [row.bytes_share for row in rows] == [100.0, 0.0]
    assert len(rows[0].bars) == 4
    assert rows[0].bars[1].height == pytest.approx(2 * rows[0].bars[0].height)


@pytest.mark.slow
def test_page_is_drawn_by_a_browser(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    browser = require_tool("chromium")
    path, picture = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(render_page(description(tuple(layer(f"l{i}") for i in range(100)))))
    subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={picture}"),
            path.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert picture.stat().st_size > 20_000
    assert shutil.which("chromium") is None or picture.read_bytes()[:4] == b"\x89PNG"

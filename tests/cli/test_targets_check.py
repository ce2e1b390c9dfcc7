"""`edgekiln targets`: the catalog as tables, and where a model fits; devices of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekiln.cli import console
from edgekiln.cli.errors import CheckFailedError, ModelChoiceError
from edgekiln.cli.main import cli
from edgekiln.cli.project import ContractSection, Project
from edgekiln.cli.targets_check import CheckDocument, CheckRow, check_table, read_model
from edgekiln.cli.targets_output import markdown_text
from edgekiln.cli.targets_page import CHART_WIDTH, check_page, render_check, render_tables
from edgekiln.cli.targets_tables import Table
from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.quantize import quantize
from edgekiln.runtime.manifest import EstimateRecord
from edgekiln.targets import ProfileError, UnknownTargetError

OWN = """\
schema = 1
id = "sensor"
title = "My sensor"
class = "mcu"
extends = "cortex-m4f"
clock_hz = 50_000_000
[memory]
ram = 16_384
flash = 131_072
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one device of its own and a small int8 model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console._Stdout, "documents", 0)
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "sensor.toml").write_text(OWN)
    (tmp_path / "edgekiln.toml").write_text('profiles = ["devices"]\n')
    build = GraphBuilder("dense", (1, 16))
    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 16)
    graph = build.finish(build.fully_connected(build.input, weights))
    samples = np.random.default_rng(0).normal(0, 1, (16, 16)).astype(np.float32)
    (tmp_path / "dense.tflite").write_bytes(emit_tflite(quantize(graph, samples)))
    return tmp_path


def run(*arguments: str) -> None:
    """The command in this process; errors come out as they are."""
    with cli.make_context("edgekiln", ["targets", *arguments]) as context:
        cli.invoke(context)


def printed(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_measure_says_what_velas_cycles_are_worth_when_the_target_is_an_ethos_u(
    folder: Path, capsys: pytest.CaptureFixture[str], require_package: Callable[[str, str], None]
) -> None:
    require_package("ethos-u-vela", "mcu")
    run("measure", "dense.tflite", "--target", "alif-ensemble-e7-hp")
    out, err = capsys.readouterr()
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[1][1:4] == ["FullyConnected", "FullyConnected", "NPU"]
    figures = {row[0]: row[1] for row in rows[3:]}
    cycles = int(figures["cycles"].replace(",", ""))
    assert figures["latency, emulated (T2)"] == f"{cycles / 400e3:.4g} ms, no interval"
    assert "do not call its cycles accurate" in err
    assert "generic system configuration" in err


def test_list_has_ones_own_device_beside_the_catalogs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("list", "--class", "mcu")
    heads, *rows = printed(capsys)
    by_id = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}
    assert by_id["sensor"]["profile"] == "yours"
    assert by_id["cortex-m4"]["profile"] == "catalog"
    assert {row["class"] for row in by_id.values()} == {"mcu"}
    assert by_id["sensor"]["clock"] == "50 MHz"
    assert by_id["sensor"]["latency"].startswith("c int8 emulated (T2, ")
    assert by_id["esp32-c3"]["latency"] == "latency not known"


def test_list_says_so_when_ones_own_device_stands_in_for_a_shipped_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = OWN.replace('id = "sensor"', 'id = "nrf52840-dk"')
    (folder / "devices" / "nrf52840-dk.toml").write_text(own)
    run("list")
    rows = {row[0]: row for row in printed(capsys)}
    assert rows["nrf52840-dk"][-1] == "yours, in place of the catalog's"
    assert "50 MHz" in rows["nrf52840-dk"]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("clock_hz = 50_000_000", "clock_hz = 50", r"sensor\.toml: key 'clock_hz': 50 Hz.*allowed"),
        ("ram = 16_384", 'ram = "16 KiB"', r"sensor\.toml: key 'memory.ram'.*number of bytes"),
        ("flash = 131_072", "flsh = 1", r"sensor\.toml: .*`flsh` in \[memory\]; it may have: ram"),
        ("[memory]", 'extends = "z80"\n[memory]', r"sensor\.toml: "),
    ],
)
def test_every_command_names_file_key_and_choices_when_ones_own_device_is_wrong(
    folder: Path, right: str, wrong: str, message: str
) -> None:
    (folder / "devices" / "sensor.toml").write_text(OWN.replace(right, wrong))
    commands = [
        ("show", "sensor"),
        ("compare", "host", "sensor"),
        ("check", "dense.tflite", "--target", "sensor"),
        ("list",),
    ]
    for command in commands:
        with pytest.raises(ProfileError, match=message) as caught:
            run(*command)
        assert "\n" not in str(caught.value)


def test_show_prints_operators_and_evidence_with_their_tiers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("show", "sensor")
    rows = printed(capsys)
    assert ["conv2d", "c", "c", ""] in rows  # what generated C has
    assert next(row[1] for row in rows if row[0] == "latency").startswith("c int8 emulated (T2")
    assert "T2" in {row[1] for row in rows if row[0] == "core-instructions"}


def test_comparison_has_a_column_for_each_target(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compare", "sensor", "cortex-m4", "jetson-nano")
    heads, *rows = printed(capsys)
    assert heads[1:] == ["sensor", "cortex-m4", "jetson-nano"]
    per_mac = next(row for row in rows if row[0].startswith("conv2d (3 x 3"))
    own, shipped = (float(cell.split()[0]) for cell in per_mac[1:3])
    assert own / shipped == pytest.approx(120 / 50, rel=0.01)  # the clocks
    assert per_mac[3] == "not known"
    with pytest.raises(UnknownTargetError, match="did you mean 'jetson-nano'"):
        run("compare", "sensor", "jetson-nan")


def test_check_fits_ones_own_device_and_says_its_numbers_tier(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check", "dense.tflite", "--target", "sensor", "--json")
    document = json.loads(capsys.readouterr().out)
    (row,) = document["rows"]
    assert (row["target"], row["format"], row["fits"]) == ("sensor", "c", True)
    assert row["latency"]["tier"] == "T2"
    assert row["latency"]["low"] < row["latency"]["value"] < row["latency"]["high"]
    assert (row["ram_limit_bytes"], row["flash_limit_bytes"]) == (16_384, 65_536)
    assert document["macs"] == 64


def test_check_is_refused_when_a_named_target_breaks_a_limit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "edgekiln.toml").write_text(
        'profiles = ["devices"]\n[targets.sensor]\nram_bytes = 100\n'
    )
    with pytest.raises(
        CheckFailedError, match=r"sensor/c: RAM \d+ bytes is over the budget of 100"
    ):
        run("check", "dense.tflite", "--target", "sensor")
    heads, row = printed(capsys)
    assert row[heads.index("fits")] == "no"
    run("check", "dense.tflite", "--target", "sensor", "--ram-bytes", "16000")  # a flag overrides


def test_check_is_refused_when_a_latency_that_is_not_known_is_limited(folder: Path) -> None:
    run("check", "dense.tflite", "--target", "esp32-c3")
    with pytest.raises(CheckFailedError, match=r"not known: .*state cycles_per_instruction"):
        run("check", "dense.tflite", "--target", "esp32-c3", "--latency-ms", "5")


def test_check_covers_every_target_and_format_when_none_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check", "dense.tflite", "--markdown", "--html", "fits.html")
    out, err = capsys.readouterr()
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    assert len(rows) > 45  # heads, and a row a format
    assert any(line.startswith("| sensor | c | yes |") for line in rows)
    assert "measured T3" in next(line for line in rows if line.startswith("| host | tflite"))
    assert all("measured" not in line for line in rows if not line.startswith("| host"))
    assert "wrote fits.html" in err
    page = (folder / "fits.html").read_text()
    assert "Where dense.tflite fits" in page
    assert "http" not in page


def test_explain_tells_layers_and_what_would_fit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("explain", "dense.tflite", "--target", "cortex-m4", "--html", "why.html")
    out = capsys.readouterr().out
    assert out.splitlines()[1].split("\t")[:4] == ["1", "fully_connected", "4", "64"]
    assert "cortex-m4/c: latency" in out
    assert "; fits" in out
    page = (folder / "why.html").read_text()
    assert "dense.tflite on cortex-m4, c" in page
    assert "http" not in page
    run("explain", "dense.tflite", "--target", "cortex-m4", "--flash-bytes", "9")
    assert "no change of width, input or format that was tried" in capsys.readouterr().out


def test_explain_names_no_time_when_nothing_prices_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("explain", "dense.tflite", "--target", "esp32-c3", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["explanation"]["tier"] is None
    assert [layer["time_us"] for layer in document["explanation"]["layers"]] == [None]
    assert document["whole"]["latency"] is None
    with pytest.raises(ModelChoiceError, match="'esp32-c3' does not run onnx; it runs: c"):
        run("explain", "dense.tflite", "--target", "esp32-c3", "--format", "onnx")


def estimate(low: float, value: float, high: float) -> EstimateRecord:
    return EstimateRecord(value, low, high, "ms", "T2", "x")


def row(name: str, latency: EstimateRecord | None, reasons: tuple[str, ...] = ()) -> CheckRow:
    size = EstimateRecord(50.0, 50.0, 50.0, "bytes", "T0", "planner")
    limits = 20.0, 100, 40, None
    return CheckRow(*(name, "c", "c", not reasons, latency, size, size, None), *limits, reasons, "")


def test_page_puts_what_fits_first_by_latency_and_the_unknown_behind() -> None:
    rows = (
        row("over", estimate(1, 2, 3), ("too much",)),
        row("unknown", None),
        row("slow", estimate(50, 100, 200)),
        row("<fast>", estimate(1, 10, 100)),
    )
    page = check_page(CheckDocument("m.tflite", "int8", 3, 64, (), rows))
    assert [shown.row.target for shown in page.rows] == ["<fast>", "slow", "unknown", "over"]
    interval = page.rows[0].interval
    assert interval is not None
    # The axis goes from 1 ms to 1 s: 10 ms lies a third along, 100 ms two thirds.
    assert [tick.text for tick in page.ticks] == ["1 ms", "10 ms", "100 ms", "1 s"]
    assert (interval.low, interval.value, interval.high) == pytest.approx(
        (0, CHART_WIDTH / 3, 2 * CHART_WIDTH / 3)
    )
    ram, flash = page.rows[0].ram, page.rows[0].flash
    assert ram is not None
    assert flash is not None
    assert (ram.share, ram.over, flash.share, flash.over) == (50, False, 100, True)
    html = render_check(page.document)
    assert "&lt;fast&gt;" in html
    assert "<fast>" not in html


def test_row_without_a_footprint_has_no_figures() -> None:
    refused = CheckRow("t", "c", "c", False, *(None,) * 8, ("no",), "")
    table = check_table(CheckDocument("m", "int8", 1, 1, (), (refused,)))
    assert table.rows == (("t", "c", "no", "–", "–", "–", "–", "–", "–", "no"),)


def test_markdown_escapes_what_would_end_a_cell() -> None:
    table = Table("T", ("a", "b"), (("x|y", "1\n2"),))
    assert markdown_text(table).splitlines()[2:] == [
        "| a | b |",
        "| --- | --- |",
        "| x\\|y | 1 2 |",
    ]
    assert "x|y" in render_tables("T", (table,))


def test_ranges_are_those_of_samples_that_are_prepared_as_the_file_says(folder: Path) -> None:
    build = GraphBuilder("float", (1, 16))
    weights = np.linspace(-1, 1, 48, dtype=np.float32).reshape(3, 16)
    graph = build.finish(build.fully_connected(build.input, weights))
    (folder / "float.tflite").write_bytes(emit_tflite(graph))
    y = np.arange(60) % 3
    x = np.random.default_rng(0).normal(0, 100, (60, 16)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=y)

    def span(settings: Project) -> float:
        quant = read_model(Path("float.tflite"), "data.npz", settings).graph.input.quant
        assert quant is not None
        return 255 * quant.scale[0]

    assert 4 < span(Project()) < 10  # standardized
    assert 400 < span(Project(contract=ContractSection(preprocessing="none"))) < 1000

"""What commands print, which extras they ask for, and what every one of them offers."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import pytest

from edgekiln.cli import console
from edgekiln.cli.console import EXTRAS, need_extra, print_json, print_table, say
from edgekiln.cli.errors import MissingExtraError
from edgekiln.cli.main import COMMANDS, cli

# Runs the command line in a Python that cannot find some modules.
WITHOUT = """
import sys
hidden = sys.argv.pop(1).split(",")
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from edgekiln.cli.main import main
main()
"""


def all_commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its path."""
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from all_commands(child, (*path, name))


ALL = dict(all_commands())


def test_tree_holds_the_documented_commands() -> None:
    named = {" ".join(path) for path in ALL}
    assert named >= {
        "init", "targets list", "targets show", "targets calibrate", "targets measure", "search",
        "compile", "inspect", "export", "verify", "release", "fleet init", "fleet serve",
        "fleet enroll", "fleet devices", "fleet releases", "fleet rollout start",
        "fleet rollout list", "fleet rollout show", "fleet rollout abort", "fleet rollout pause",
        "fleet rollout resume",
        "fleet alerts", "fleet alerts ack", "device run", "device measure", "demo",
    }  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_command_takes_json_and_debug_and_says_what_it_does(path: tuple[str, ...]) -> None:
    command = ALL[path]
    options = {name for item in command.params for name in item.opts}
    assert {"--json", "--debug"} <= options
    assert command.help
    for item in command.params:
        if isinstance(item, click.Option) and item.name in ("as_json", "debug"):
            assert item.help


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_command_has_help_for_every_option(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(click.exceptions.Exit) as stop:
        cli.make_context("edgekiln", [*path, "-h"]).command.invoke(
            cli.make_context("edgekiln", [*path, "-h"])
        )
    assert stop.value.exit_code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: edgekiln {' '.join(path)}")
    assert "--json" in said


def test_list_of_commands_needs_no_import_of_them() -> None:
    script = (
        "import sys; from edgekiln.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally:\n"
        "    heavy = {'numpy', 'torch', 'sqlalchemy', 'rich', 'sklearn'} & set(sys.modules)\n"
        "    assert not heavy, heavy"
    )
    done = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("hidden", "arguments", "extra"),
    [
        ("torch", "compile x.pt2 -o x.ekb", "compile"),
        ("scipy", "search", "search"),
        ("scipy", "targets calibrate host", "search"),
        ("onnx", "inspect x.onnx", "onnx"),
        ("onnx", "verify x.ekb", "onnx"),
        ("litestar", "fleet init f", "fleet"),
        ("litestar", "fleet devices", "fleet"),
        ("litestar", "release x.ekb --fleet f", "fleet"),
        ("litestar", "demo --out d", "fleet"),
    ],
)
def test_missing_extra_is_named_with_the_line_that_installs_it(
    hidden: str, arguments: str, extra: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        (sys.executable, "-c", WITHOUT, hidden, *arguments.split()),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"edgekiln: this command needs the extra '{extra}'; install it with: "
        f"pip install 'edgekiln[{extra}]'\n"
    )
    assert not any(tmp_path.iterdir())


def test_catalog_works_where_no_extra_is_installed(tmp_path: Path) -> None:
    hidden = ",".join(
        ("torch", "onnx", "onnxruntime", "scipy", "sklearn", "litestar", "sqlalchemy")
    )
    done = subprocess.run(
        (sys.executable, "-c", WITHOUT, hidden, "targets", "list", "--json"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(done.stdout)["targets"]) >= 3


@pytest.mark.parametrize("extra", EXTRAS)
def test_need_extra_looks_for_a_module_that_exists(extra: str) -> None:
    assert importlib.util.find_spec(EXTRAS[extra]) is not None
    need_extra(extra)


def test_need_extra_raises_when_the_module_cannot_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "gone", "no_such_module_anywhere")
    with pytest.raises(MissingExtraError, match="edgekiln\\[gone\\]"):
        need_extra("gone")


class Point(msgspec.Struct):
    x: int


@dataclass
class Pair:
    left: Point
    right: float


def test_print_json_takes_structs_and_dataclasses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console._Stdout, "documents", 0)
    assert not console.document_printed()
    print_json(Pair(Point(1), 2.5))
    assert json.loads(capsys.readouterr().out) == {"left": {"x": 1}, "right": 2.5}
    assert console.document_printed()


def test_table_is_tab_separated_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Title", ("a", "b"), [("1", "2"), ("3", "4")])
    assert capsys.readouterr().out == "a\tb\n1\t2\n3\t4\n"


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("working")
    assert capsys.readouterr() == ("", "working\n")

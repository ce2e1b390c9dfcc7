"""`edgekiln`: the table of commands and the one place that turns errors into exit codes.

Exit codes: 0 done, 1 a gate or a check said no, 2 bad usage or bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

# name -> module:attribute, one line of help. Imported only when the command runs.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo_command:demo", "Run the whole loop once on scikit-learn's digits."),
    "init": ("init:init", "Write a first edgekiln.toml."),
    "targets": ("targets:targets", "What devices can do, and how well it is known."),
    "search": ("search:search", "Explore architectures inside the targets' budgets."),
    "compile": ("compile:compile_", "Distil, quantize, export and prove one model."),
    "inspect": ("inspect:inspect", "Say what is inside a bundle or a model file."),
    "export": ("export:export", "Write a bundle's artifact for a firmware project."),
    "verify": ("verify:verify", "Run a bundle's certificate again on this machine."),
    "release": ("release:release", "Sign a bundle into a fleet's repository."),
    "fleet": ("fleet:fleet", "Serve a fleet, enrol devices, roll out, see alerts."),
    "firmware": ("firmware:firmware", "Updatable models of microcontrollers, and updates."),
    "device": ("device:device", "Run what runs on a device."),
}


class _LazyGroup(click.Group):
    """Loads a command's module when the command is asked for, never for `--help`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, attribute = COMMANDS[cmd_name][0].split(":")
        module = importlib.import_module(f".{module_name}", __package__)
        command: click.Command = getattr(module, attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgekiln", prog_name="edgekiln")
def cli() -> None:
    """Search, compile, ship and watch models on small devices."""


def _open_streams() -> None:
    """Something to write to where the caller closed stdout or stderr (`>&-`)."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open to the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: run a command and exit with its code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    from .exits import exit_code

    sys.exit(exit_code(lambda: _invoke(argv), argv))


def _invoke(argv: list[str]) -> None:
    """click's `main` without its own ideas of what an error is; it still completes for shells."""
    if "_EDGEKILN_COMPLETE" in os.environ:
        cli.main(args=argv, prog_name="edgekiln")
    with cli.make_context("edgekiln", argv) as context:
        cli.invoke(context)

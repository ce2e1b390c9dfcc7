"""`edgekiln demo`: the whole loop, one command."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path

import click

from .console import common_options, need_extra, print_json, say
from .errors import DemoError

MARK = ".edgekiln-demo"  # a folder that an earlier demo made, and may be replaced


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"), show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--keep", is_flag=True, help="Leave the fleet running until Ctrl-C.")
@common_options
def demo(out: Path, seed: int, keep: bool, as_json: bool) -> None:
    """Search, compile, release, roll out, drift and roll back on scikit-learn's digits.

    Real parts: a TUF repository, a broker, a server with a dashboard, eight device processes.
    """
    for extra in ("search", "fleet"):
        need_extra(extra)
    _clear(out)
    import msgspec

    from .demo.report import summary
    from .demo.result import DemoResult
    from .demo.run import run_demo

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end children then, too

    def finish(result: DemoResult) -> None:
        shown = result if keep else msgspec.structs.replace(result, dashboard="")
        if as_json:
            print_json(shown)
        else:
            print("\n".join([*summary(shown), f"report    {shown.report}"]), flush=True)
        if keep:
            _hold(result.dashboard)

    run_demo(out.resolve(), seed, say, finish)


def _hold(dashboard: str) -> None:
    say(f"the fleet keeps running; dashboard at {dashboard}; Ctrl-C ends it")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        say("ending the fleet")


def _clear(out: Path) -> None:
    """An empty folder for the run; only what an earlier demo made is replaced."""
    if out.exists():
        if not out.is_dir() or (any(out.iterdir()) and not (out / MARK).exists()):
            raise DemoError(f"{out} is in use and no demo made it; choose another with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).touch()

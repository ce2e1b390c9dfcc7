"""`edgekiln init`: a first edgekiln.toml."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .console import common_options, print_json, say
from .errors import ProjectFileError
from .project import FILE_NAME

TEMPLATE = """\
# Edgekiln's declarative file. Every key may be left out; a flag of the command overrides it.

[data]
source = {source}        # FILE.npz with x and y, or sklearn:digits
seed = 0                   # of the train / validation / test split

# How samples are prepared: by default as it follows from them.
# [contract]
# preprocessing = "none"   # none, unit, standardize

# One table per device; a limit left out stays at what the device's profile allows.
[targets.host]
latency_ms = 1.0

[targets.cortex-m4]
latency_ms = 50.0
ram_bytes = 32_768
flash_bytes = 131_072

[search]
candidates = 48
workers = 2
seed = 0

[compile]
max_accuracy_drop = 0.02   # int8 against float, on the validation split
distil_epochs = 6

[rollout]
cohort = "all"
waves = ["10%", "50%", "100%"]
soak_s = 600
deadline_s = 3600
"""


def first_file(source: str) -> str:
    """The text of a first edgekiln.toml; a TOML string is a JSON string that escapes less."""
    return TEMPLATE.format(source=json.dumps(source, ensure_ascii=False))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--data", "source", default="sklearn:digits", help="FILE.npz or sklearn:NAME.")
@common_options
def init(folder: Path, source: str, as_json: bool) -> None:
    """Write a first edgekiln.toml into FOLDER (default: here)."""
    from edgekiln.runtime.files import write_atomic

    path = folder / FILE_NAME
    if path.exists():
        raise ProjectFileError(f"{path} exists already; edit it, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, first_file(source).encode())
    say(f"wrote {path}; next: edgekiln search")
    if not source.startswith("sklearn:") and not (folder / source).is_file():
        say(f"note: {folder / source} is not there yet; a search needs it")
    if as_json:
        print_json({"path": str(path)})

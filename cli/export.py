"""`edgekiln export`: an artifact of a bundle as the files that a firmware project takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, print_json, say
from .errors import ModelChoiceError, OutputError
from .outputs import ready_folder

if TYPE_CHECKING:
    from edgekiln.runtime import Bundle
    from edgekiln.runtime.manifest import Artifact

FORMATS = ("tflite", "onnx", "c")
LAYOUTS = ("plain", "cmake", "arduino", "zephyr", "esp-idf", "platformio")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: paths below `folder`. Only C has a layout."""

    bundle_id: str
    target: str
    format: str
    layout: str | None
    folder: str
    files: tuple[str, ...]


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", "target_id", required=True, help="Whose artifact.")
@click.option("--format", "fmt", type=click.Choice(FORMATS), help="Default: the target's first.")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help="C as a library of a build system. Default: plain, all files in one folder.",
)
@click.option("--drift", is_flag=True, help="Add drift detection in C for the model's features.")
@click.option(
    "--drift-tolerance",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of samples that may move before it is drift. Default: 0.02.",
)
@click.option(
    "--drift-run-length",
    type=click.FloatRange(1, 1e9),
    help="Samples until a false alarm, on average at least. Default: 20000.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@common_options
def export(
    bundle: Path,
    target_id: str,
    fmt: str | None,
    layout: str | None,
    drift: bool,
    drift_tolerance: float | None,
    drift_run_length: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Check BUNDLE and write one target's artifact: the folder of C, the .tflite or the .onnx."""
    from edgekiln.runtime import open_bundle

    opened = open_bundle(bundle)
    artifact = _choose(opened, target_id, "c" if layout and fmt is None else fmt)
    if layout is not None and artifact.format != "c":
        raise ModelChoiceError(
            f"--layout is for C, the artifact is {artifact.format}; leave it out"
        )
    wanted = _DriftOptions(drift, drift_tolerance, drift_run_length)
    files = _files(opened, artifact, layout or "plain", _drift_files(opened, artifact, wanted))
    write_folder(files, out)
    done = Exported(
        bundle_id=opened.bundle_id,
        target=target_id,
        format=artifact.format,
        layout=(layout or "plain") if artifact.format == "c" else None,
        folder=str(out),
        files=tuple(files),
    )
    if as_json:
        print_json(done)
        return
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    say(f"wrote {count} to {out}: {target_id}'s {artifact.format}, checked")


def _choose(bundle: Bundle, target_id: str, fmt: str | None) -> Artifact:
    mine = [found for found in bundle.manifest.artifacts if found.target == target_id]
    if not mine:
        known = ", ".join(sorted({found.target for found in bundle.manifest.artifacts}))
        raise ModelChoiceError(
            f"{bundle.source}: nothing for target '{target_id}'; it has: {known}"
        )
    for artifact in mine:
        if fmt in (None, artifact.format):
            return artifact
    formats = ", ".join(found.format for found in mine)
    raise ModelChoiceError(
        f"{bundle.source}: no {fmt} for '{target_id}', which has: {formats}; compile again with "
        f"--target {target_id} --format {fmt}"
    )


@dataclass(frozen=True, slots=True)
class _DriftOptions:
    wanted: bool
    tolerance: float | None
    run_length: float | None


def _drift_files(bundle: Bundle, artifact: Artifact, options: _DriftOptions) -> Mapping[str, bytes]:
    """Nothing where no drift detection is wanted."""
    if not options.wanted:
        if options.tolerance is not None or options.run_length is not None:
            raise ModelChoiceError(
                "--drift-tolerance and --drift-run-length are of --drift: add it"
            )
        return {}
    if artifact.format != "c":
        raise ModelChoiceError(
            f"--drift is C, the artifact is {artifact.format}; take --format c, or leave it out: "
            "`edgekiln device run` detects drift by itself"
        )
    from edgekiln.compiler.emit_drift import emit_drift
    from edgekiln.runtime.drift import RUN_LENGTH, TOLERANCE

    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    return emit_drift(bundle.reference(), options.run_length or RUN_LENGTH, tolerance)


def _files(
    bundle: Bundle, artifact: Artifact, layout: str, more: Mapping[str, bytes]
) -> Mapping[str, bytes]:
    """`more` are C files that go with those of an artifact of C."""
    from edgekiln.compiler.c_layouts import Layout, lay_out

    if artifact.format != "c":
        return {artifact.path.rpartition("/")[2]: bundle.read(artifact.path)}
    name = bundle.manifest.name
    numerics = artifact.numerics.replace(".v1", "")
    description = f"{name}: {numerics} inference, bundle {bundle.bundle_id[:12]}"
    return lay_out({**bundle.below(artifact.path), **more}, name, description, Layout(layout))


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Write `files`, by path, below a new or empty `folder`.

    Old kernels among new ones would be built with them, so the folder has to be empty.

    Raises OutputError.
    """
    ready_folder(folder)
    if any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; name a new folder")
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

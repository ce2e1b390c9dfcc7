"""`edgekiln inspect`: what is inside a file."""

from __future__ import annotations

from pathlib import Path

import click

from .console import common_options, need_extra, print_json, print_table


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def inspect(file: Path, as_json: bool) -> None:
    """Say what is inside FILE: a bundle (.ekb), .tflite, .onnx or .pt2."""
    need_extra("onnx")
    from edgekiln.compiler.inspect import describe

    found = describe(file)
    if as_json:
        print_json(found)
        return
    for line in found.headline:
        print(line)
    if found.layers:
        rows = [
            (
                layer.name,
                layer.op,
                str(layer.shape),
                layer.dtype,
                f"{layer.macs:,}",
                layer.quantization,
            )
            for layer in found.layers
        ]
        columns = ("layer", "operator", "output", "dtype", "MACs", "quantization")
        print_table("Layers", columns, rows)

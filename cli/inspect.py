"""`edgekiln inspect`: what is inside a file."""

from __future__ import annotations

from pathlib import Path

import click

from .console import common_options, need_extra, print_json, print_table, say


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--html", "page", type=click.Path(path_type=Path), help="Write a page with the graph, too."
)
@common_options
def inspect(file: Path, page: Path | None, as_json: bool) -> None:
    """Say what is inside FILE: a bundle (.ekb), .tflite, .onnx, .pt2, or data (.npz)."""
    need_extra("onnx")
    from edgekiln.compiler.inspect import describe

    found = describe(file)
    if page is not None:
        from edgekiln.runtime.files import write_atomic

        from .inspect_page import render_page

        write_atomic(page, render_page(found).encode())
        say(f"wrote {page}")
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
                f"{layer.weight_bytes:,}",
                layer.quantization,
            )
            for layer in found.layers
        ]
        columns = ("layer", "operator", "output", "dtype", "MACs", "weight bytes", "quantization")
        print_table("Layers", columns, rows)

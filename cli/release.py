"""`edgekiln release`: a bundle becomes a release, signed by the offline keys."""

from __future__ import annotations

from pathlib import Path

import click

from .console import common_options, need_extra, print_json, say


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--fleet", "folder", type=click.Path(path_type=Path), required=True)
@click.option("--parent", help="Bundle id of the release that this one replaces.")
@click.option("--alias", help="A name for it, such as prod.")
@common_options
def release(
    bundle: Path, folder: Path, parent: str | None, alias: str | None, as_json: bool
) -> None:
    """Sign BUNDLE into the TUF repository of a fleet and register it with its lineage."""
    need_extra("fleet")
    from edgekiln.fleet.folder import open_fleet
    from edgekiln.fleet.registry import register_release

    done = register_release(open_fleet(folder), bundle, parent=parent, alias=alias)
    if as_json:
        print_json(done)
        return
    say(f"released {done.name} as {done.bundle_id[:12]}, security counter {done.security_counter}")
    say(f"whole bundle: {done.bytes:,} bytes")
    for delta in done.deltas:
        share = delta.bytes / done.bytes
        say(f"delta for devices with {delta.base[:12]}: {delta.bytes:,} bytes ({share:.1%})")

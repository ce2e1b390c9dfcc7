"""The device's TUF client behind the command line that `tuf-conformance` drives.

    python -m edgekiln.runtime.tuf_cli --metadata-dir DIR init ROOT
    python -m edgekiln.runtime.tuf_cli --metadata-dir DIR --metadata-url URL refresh
    python -m edgekiln.runtime.tuf_cli --metadata-dir DIR --metadata-url URL
        --target-name PATH --target-base-url URL --target-dir DIR download

It is the client that `trust.py` installs by, over HTTP instead of MQTT, so that the public suite
can be run against it. `--target-name` may be given several times. Exit 0 when done, 1 when anything
was refused or did not come, 2 on bad usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]  # tuf re-exports it plainly
from tuf.ngclient import Updater  # type: ignore[attr-defined]

from .errors import RuntimeRoomError, TrustError
from .files import write_atomic
from .http_client import HttpClient
from .tuf_lookup import updater_for_one_lookup

FAILED = (RuntimeRoomError, RepositoryError, DownloadError, OSError, ValueError)
ROOT_FILE = "root.json"
EMBEDDED_FILE = "trusted_root"  # what a device is made with; never replaced


@dataclass(frozen=True, slots=True)
class Client:
    """Where the client keeps metadata and asks for it."""

    cache: Path
    metadata_url: str
    http: HttpClient

    def updater(self) -> Updater:
        """A client for one lookup."""
        root = (self.cache / EMBEDDED_FILE).read_bytes()
        return updater_for_one_lookup(self.cache, root, self.metadata_url, self.http.fetch_bytes)


def init(cache: Path, trusted_root: Path) -> None:
    """Keep the root that the client is made with.

    Raises:
        OSError: it cannot be read, or the folder cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    root = trusted_root.read_bytes()
    write_atomic(cache / EMBEDDED_FILE, root)
    write_atomic(cache / ROOT_FILE, root)


def download(client: Client, name: str, base_url: str, folder: Path) -> Path:
    """Get one target, verified, as `folder`/NAME; a file that is there and fits is left alone.

    Raises:
        TrustError: the signed metadata knows no such target.
        RepositoryError, DownloadError, RuntimeRoomError, OSError: as from the client.
    """
    updater = client.updater()
    target = updater.get_targetinfo(name)
    if target is None:
        raise TrustError(f"the signed metadata knows no target '{name}'")
    place = folder / quote(name, safe="")
    if updater.find_cached_target(target, str(place)):
        return place
    path = _hashed(target) if _has_hashed_names(updater) else name
    data = client.http.fetch_bytes(f"{base_url.rstrip('/')}/{quote(path)}", target.length)
    target.verify_length_and_hashes(data)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(place, data)
    return place


def _has_hashed_names(updater: Updater) -> bool:
    """Whether target files carry their hash in front: with consistent snapshots they may."""
    return bool(updater._trusted_set.root.consistent_snapshot)


def _hashed(target: TargetFile) -> str:
    folder, slash, name = target.path.rpartition("/")
    return f"{folder}{slash}{next(iter(target.hashes.values()))}.{name}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgekiln.runtime.tuf_cli", description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url", default="")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command != "init" and not options.metadata_url:
        parser.error(f"{options.command} needs --metadata-url")
    wanted = (options.target_name, options.target_base_url, options.target_dir)
    if options.command == "download" and not all(wanted):
        parser.error("download needs --target-name, --target-base-url and --target-dir")
    client = Client(options.metadata_dir, options.metadata_url, HttpClient())
    try:
        if options.command == "init":
            init(options.metadata_dir, options.trusted_root)
        elif options.command == "refresh":
            client.updater().refresh()
        for name in options.target_name if options.command == "download" else ():
            download(client, name, options.target_base_url, options.target_dir)
    except FAILED as error:
        print(f"edgekiln: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    finally:
        client.http.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

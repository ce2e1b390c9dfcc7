"""Where results go: looked at before long work, so that a typo costs a second and not a search."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .errors import OutputError


def ready_bundle(path: Path) -> None:
    """Make the folder of `path`, and see that a bundle can be written there.

    Raises:
        OutputError: the name is not that of a bundle, or is a folder's.
        OSError: the folder cannot be made or written.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file, such as {path / 'model.ekb'}")
    if path.suffix != ".ekb":
        raise OutputError(f"{path}: a bundle's name ends in .ekb, such as {path.stem}.ekb")
    ready_folder(path.parent)


def ready_folder(folder: Path) -> None:
    """Make `folder`, and see that files can be made in it.

    Raises:
        OSError: naming the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"space?")
    except OSError as error:
        error.filename = str(folder)
        raise

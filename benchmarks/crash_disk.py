"""A model of what a disk may hold after a power cut, from the record of what was done to it.

POSIX promises little: what was written to a file is on disk after `fsync` of the file, a name after
`fsync` of its folder. Until then each write may be there wholly, in some of its sectors or not at
all, and each change of names may be there or not, in any order. A rename is there or not, never
half. `Disk` plays a recording and says which changes are still open; `Loss` chooses among them.
"""

from __future__ import annotations

import enum
import os
import random
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .crash_trace import Change, Kind

SECTOR_BYTES = 512
UNSAVED = "-shm"  # SQLite's shared memory: changed by mapping, built anew by the first that opens


class Loss(enum.StrEnum):
    """What becomes of changes that were not synced."""

    KEPT = "kept"  # nothing is lost: the process was killed, the machine went on
    LOST = "lost"  # everything is
    DATA = "data"  # names are there, what was written is not
    NAMES = "names"  # the other way round
    ORDERED = "ordered"  # the disk went through them in order, up to some point
    MIXED = "mixed"  # each by a coin, writes by sector


@dataclass(frozen=True, slots=True)
class Image:
    """What is on disk: files, links and folders by path relative to the root."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()

    def key(self) -> int:
        """Equal for equal images, within one process."""
        return hash((frozenset(self.files.items()), frozenset(self.links.items()), self.folders))


@dataclass(frozen=True, slots=True)
class _DataChange:
    at: int
    offset: int
    data: bytes | None  # None: truncated to `offset`


@dataclass(frozen=True, slots=True, eq=False)
class _NameChange:
    at: int
    gone: str  # a path that the change takes away; empty: none
    gone_target: object
    new: str
    new_target: object


class _File:
    """One file, whatever its name: what is safe, and what was done since."""

    def __init__(self, data: bytes = b"") -> None:
        self.safe = data
        self.open: list[_DataChange] = []

    def after(self, changes: Iterable[_DataChange], torn: random.Random | None) -> bytes:
        data = bytearray(self.safe)
        for change in changes:
            if change.data is None:
                del data[change.offset :]
                data.extend(bytes(change.offset - len(data)))
                continue
            for start, piece in _pieces(change.offset, change.data):
                if torn is not None and torn.random() < 0.5:
                    continue
                data.extend(bytes(max(0, start + len(piece) - len(data))))
                data[start : start + len(piece)] = piece
        return bytes(data)


_FOLDER = object()


class Disk:
    """Plays changes; `image` may be asked for at any point."""

    def __init__(self, root: Path, start: Image) -> None:
        self._root = root.resolve().as_posix()
        self._safe: dict[str, object] = dict.fromkeys(start.folders, _FOLDER)
        self._safe |= {path: _File(data) for path, data in start.files.items()}
        self._safe |= dict(start.links)
        self._now = dict(self._safe)
        self._open: list[_NameChange] = []
        self._handles: dict[int, str | _File] = {}
        self._at = 0

    def play(self, change: Change) -> None:
        """One more change has been done."""
        self._at += 1
        match change.kind:
            case Kind.OPEN:
                self._opened(change)
            case Kind.CLOSE:
                self._handles.pop(change.handle, None)
            case Kind.WRITE | Kind.TRUNCATE:
                file = self._handles[change.handle]
                assert isinstance(file, _File)
                data = change.second if change.kind is Kind.WRITE else None
                file.open.append(_DataChange(self._at, change.offset, data))
            case Kind.FSYNC:
                self._synced(self._handles[change.handle])
            case Kind.RENAME:
                old, new = self._path(change.first), self._path(change.second)
                self._name(old, new, self._now[old])
            case Kind.UNLINK | Kind.RMDIR:
                self._name(self._path(change.first), "", None)
            case Kind.MKDIR:
                self._name("", self._path(change.first), _FOLDER)
            case Kind.SYMLINK:
                self._name("", self._path(change.second), os.fsdecode(change.first))

    def image(self, loss: Loss, rng: random.Random) -> Image:
        """What is found after a power cut now."""
        cut = rng.randint(0, self._at)

        def keeps(change: _DataChange | _NameChange) -> bool:
            match loss:
                case Loss.KEPT:
                    return True
                case Loss.LOST:
                    return False
                case Loss.DATA:
                    return isinstance(change, _NameChange)
                case Loss.NAMES:
                    return isinstance(change, _DataChange)
                case Loss.ORDERED:
                    return change.at <= cut
                case Loss.MIXED:
                    return rng.random() < 0.5

        names = dict(self._safe)
        for change in self._open:
            if keeps(change):
                _rename(names, change)
        torn = rng if loss is Loss.MIXED else None
        files, links, folders = {}, {}, set()
        for path, target in names.items():
            if not _reachable(path, names):
                continue
            if isinstance(target, _File):
                files[path] = target.after([c for c in target.open if keeps(c)], torn)
            elif target is _FOLDER:
                folders.add(path)
            else:
                links[path] = str(target)
        return Image(files, links, frozenset(folders))

    def _opened(self, change: Change) -> None:
        path = self._path(change.first)
        is_new, is_emptied = bool(change.offset & 1), bool(change.offset & 2)
        if is_new:
            self._name("", path, _File())
        found = self._now.get(path, path)
        if isinstance(found, _File):
            self._handles[change.handle] = found
            if is_emptied and not is_new:
                found.open.append(_DataChange(self._at, 0, None))
        else:
            self._handles[change.handle] = path

    def _synced(self, target: str | _File) -> None:
        if isinstance(target, _File):
            target.safe = target.after(target.open, None)
            target.open.clear()
            return
        synced = [c for c in self._open if _folder(c.new or c.gone) == target]
        for change in synced:
            _rename(self._safe, change)
        moved = {(c.gone, id(c.gone_target)) for c in synced if c.gone}
        # A file that has safely come from another folder cannot appear there again.
        self._open = [
            c for c in self._open if c not in synced and (c.new, id(c.new_target)) not in moved
        ]

    def _name(self, gone: str, new: str, target: object) -> None:
        change = _NameChange(self._at, gone, self._now.get(gone), new, target)
        _rename(self._now, change)
        self._open.append(change)

    def _path(self, path: bytes) -> str:
        return os.fsdecode(path)[len(self._root) + 1 :]


def image_of(folder: Path) -> Image:
    """What a folder holds now."""
    files, links, folders = {}, {}, set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            links[name] = str(path.readlink())
        elif path.is_dir():
            folders.add(name)
        else:
            files[name] = path.read_bytes()
    return Image(files, links, frozenset(folders))


def without_unsaved(image: Image) -> Image:
    """The image without files that are changed by mapping, which no recording sees."""
    files = {path: data for path, data in image.files.items() if not path.endswith(UNSAVED)}
    return Image(files, image.links, image.folders)


def put_on_disk(image: Image, folder: Path) -> None:
    """Make `folder` hold the image and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(image.folders):
        (folder / path).mkdir(parents=True, exist_ok=True)
    for path, data in image.files.items():
        (folder / path).write_bytes(data)
    for path, target in image.links.items():
        (folder / path).symlink_to(target)


def boundaries(changes: Sequence[Change]) -> list[int]:
    """Numbers of changes behind which a cut leaves something else than one change earlier."""
    silent = {Kind.CLOSE, Kind.MARK}
    return [
        at + 1
        for at, change in enumerate(changes)
        if change.kind not in silent and not (change.kind is Kind.OPEN and not change.offset)
    ]


def _rename(names: dict[str, object], change: _NameChange) -> None:
    if change.gone and names.get(change.gone) is change.gone_target:
        del names[change.gone]
    if change.new:
        names[change.new] = change.new_target


def _reachable(path: str, names: dict[str, object]) -> bool:
    parents = PurePosixPath(path).parents
    return all(str(parent) == "." or names.get(str(parent)) is _FOLDER for parent in parents)


def _folder(path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    return "" if parent == "." else parent


def _pieces(offset: int, data: bytes) -> Iterable[tuple[int, bytes]]:
    """A write by the sectors that it touches."""
    end = offset + len(data)
    start = offset
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield start, data[start - offset : stop - offset]
        start = stop

"""Kernel files: found by their names alone, so no two folders may share one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgekiln.compiler import emit_c_sources


def test_every_file_name_is_there_once_when_folders_are_searched_in_order() -> None:
    folders = Path(emit_c_sources.__file__).parent / "c"
    names = Counter(path.name for path in folders.glob("*/*.[ch]"))
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 50

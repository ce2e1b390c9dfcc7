"""The room's front: its names exist, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import edgekiln.targets as room

HEAVY = ("scipy", "torch", "onnx", "sklearn", "onnxruntime", "ai_edge_litert", "sqlalchemy")
ROOT = Path(__file__).resolve().parents[2]


def test_every_public_name_exists_and_is_sorted() -> None:
    assert sorted(room.__all__) == room.__all__
    assert all(hasattr(room, name) for name in room.__all__)


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys; from edgekiln.targets import load_target; load_target('host');"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"

"""docs/operators.md says what the compiler's tables say."""

from __future__ import annotations

from pathlib import Path

from edgekiln.compiler.coverage import page

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_operator_page_is_current_when_tables_change() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it again: python -m edgekiln.compiler.coverage > docs/operators.md"
    )

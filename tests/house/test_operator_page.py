"""docs/operators.md says what the compiler's tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekiln.compiler.coverage import operators_of, page

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_operator_page_is_current_when_tables_change() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it again: python -m edgekiln.compiler.coverage > docs/operators.md"
    )


@pytest.mark.parametrize(("fmt", "column"), [("tflite", 5), ("onnx", 6), ("c", 7)])
def test_operators_of_a_format_are_those_of_the_page(fmt: str, column: int) -> None:
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    named = {row[0].strip("| `") for row in rows if len(row) == 8 and row[column].strip(" |")}
    assert {op for op, dtypes in operators_of(fmt) if dtypes} == named - {"operator", "---"}

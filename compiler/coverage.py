"""What the compiler can say, read off its own tables: `docs/operators.md` is this page.

`python -m edgekiln.compiler.coverage > docs/operators.md` writes it; a test compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .emit_c_layers import C_OPERATORS
from .graph import DType
from .interpret import KERNELS
from .onnx_forms import FORMS as ONNX_FORMS
from .ops import Op
from .quant_rules import RULES, QuantRule
from .tflite_forms import FORMS as TFLITE_FORMS

_RULE_TEXT: Mapping[QuantRule, str] = {
    QuantRule.WEIGHTED: "symmetric weights",
    QuantRule.FREE: "own for each value",
    QuantRule.KEEPS: "the input's",
    QuantRule.SHARED: "one for all",
    QuantRule.FIXED: "given by the operator",
    QuantRule.INDEX: "integers out",
    QuantRule.CONVERTS: "converts",
    QuantRule.NONE: "stays float32",
}
_IMPORT_ONLY = (Op.BATCH_NORM,)
_HEADER = """# Operators

Written by `python -m edgekiln.compiler.coverage`. A quantized operator means byte for byte what
LiteRT's reference kernels compute; "encoding" says how its quantization parameters hang together.
An operator without a quantized form runs in float32 between conversions, and the compile says so.

| operator | float32 | int8 | int16x8 | encoding | TFLite | ONNX | C |
|---|---|---|---|---|---|---|---|
"""


def operators_of(fmt: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Operators that the format `fmt` can hold, each with the dtypes that it holds it in."""
    found = ((op.value, _dtypes(op, fmt)) for op in Op if op not in _IMPORT_ONLY)
    return tuple((name, dtypes) for name, dtypes in found if dtypes)


def _dtypes(op: Op, fmt: str) -> frozenset[str]:
    computed = {dtype.value for dtype, kernels in KERNELS.items() if op in kernels}
    if fmt == "c":
        return frozenset({DType.INT8.value} if op in C_OPERATORS else ())
    if fmt == "onnx":
        return frozenset(computed if op in ONNX_FORMS else ())
    return frozenset(computed & set(TFLITE_FORMS[op].versions) if op in TFLITE_FORMS else ())


def page() -> str:
    """The whole page as Markdown."""
    rows = [_row(op) for op in Op if op not in _IMPORT_ONLY]
    return _HEADER + "\n".join(rows) + "\n" + _imports()


def _row(op: Op) -> str:
    cells = (
        f"`{op.value}`",
        _mark(op in KERNELS[DType.FLOAT32]),
        _mark(op in KERNELS[DType.INT8]),
        _mark(op in KERNELS[DType.INT16]),
        _RULE_TEXT[RULES[op]],
        ", ".join(sorted(TFLITE_FORMS[op].versions)) if op in TFLITE_FORMS else "",
        _mark(op in ONNX_FORMS),
        _mark(op in C_OPERATORS),
    )
    return f"| {' | '.join(cells)} |"


def _mark(there: bool) -> str:
    return "yes" if there else ""


def _imports() -> str:
    from .importers.onnx_ops import HANDLERS as ONNX
    from .importers.sklearn_linear import LINEAR
    from .importers.sklearn_steps import SCALERS
    from .importers.sklearn_trees import FORESTS
    from .importers.tflite_ops import HANDLERS as TFLITE
    from .importers.torch_ops import HANDLERS as TORCH

    return "".join(
        f"\n## Read from {title}\n\n{_list(names)}\n"
        for title, names in (
            ("TensorFlow Lite", TFLITE),
            ("ONNX (opset 13 to 22)", ONNX),
            ("torch.export", TORCH),
            ("scikit-learn", LINEAR | FORESTS | SCALERS),
        )
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    print(page(), end="")

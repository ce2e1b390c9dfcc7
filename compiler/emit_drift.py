"""`emit_drift`: drift detection as C99 for a microcontroller, with the tables of one reference.

The code is runtime/c/ek_drift.c as it is; what is written is `drift_reference.c`, constants that
equal to the last bit those of `edgekiln.runtime.drift` and the memory of one detector, and
`drift_reference.h`, which says their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekiln.runtime import drift
from edgekiln.runtime.drift import CAP, RUN_LENGTH, TOLERANCE, state_key
from edgekiln.runtime.drift_bets import STARTS, Bets, class_bets, even_bets
from edgekiln.runtime.reference import FeatureReference, Reference, Step, steps_of

from .emit_c_text import array, braces, comment, float_literal, statement

_SOURCES = Path(drift.__file__).parent / "c"
_COPIED = ("ek_drift.c", "ek_drift.h")


def emit_drift(
    reference: Reference, run_length: float = RUN_LENGTH, tolerance: float = TOLERANCE
) -> dict[str, bytes]:
    """Files by name; the arguments are those of `runtime.drift.DriftDetector`."""
    files = {name: (_SOURCES / name).read_bytes() for name in _COPIED}
    rows = (*reference.features, reference.confidence)
    files["drift_reference.h"] = _header(rows, len(reference.classes)).encode("ascii")
    files["drift_reference.c"] = _tables(reference, run_length, tolerance).encode("ascii")
    return files


def _header(rows: Sequence[FeatureReference], classes: int) -> str:
    names = "\n".join(f" * {row:3d} {comment(feature.name)}" for row, feature in enumerate(rows))
    return f"""\
/* The drift detector of one model: ek_drift.h says how to use it. Its rows are
 *
{names}
 */
#ifndef DRIFT_REFERENCE_H
#define DRIFT_REFERENCE_H

#include "ek_drift.h"

#ifdef __cplusplus
extern "C" {{
#endif

enum {{ DRIFT_ROWS = {len(rows)}, DRIFT_CLASSES = {classes} }};

/* Keep it where the device keeps things over a restart, all of it at once. */
typedef struct {{
    ek_drift_head head;
    ek_drift_row rows[DRIFT_ROWS];
    uint8_t classes[2 * DRIFT_CLASSES];
}} drift_state;

extern const ek_drift_feature drift_features[DRIFT_ROWS];
extern const ek_drift_reference drift_reference;
extern drift_state drift_memory;
extern const ek_drift drift_detector; /* the reference, and the memory */

#ifdef __cplusplus
}}
#endif
#endif
"""


def _tables(reference: Reference, run_length: float, tolerance: float) -> str:
    rows = (*reference.features, reference.confidence)
    answers = class_bets(reference.classes, reference.answers, tolerance)
    threshold = np.float32(run_length * (len(rows) + 1))
    key = int.from_bytes(state_key(reference, run_length, tolerance)[:4], "little")
    steps = [steps_of(feature) for feature in rows]
    fields = (
        ("features", "drift_features"),
        ("feature_bets", "&feature_bets"),
        ("confidence_bets", "&confidence_bets"),
        ("class_shares", "class_shares"),
        ("starts", "starts"),
        ("class_radius", _float(answers.radius)),
        ("threshold", _float(threshold)),
        ("limit", _float(threshold * np.float32(CAP))),
        ("rows", "DRIFT_ROWS"),
        ("classes", "DRIFT_CLASSES"),
        ("key", f"UINT32_C(0x{key:08x})"),
    )
    state = (
        *(("reference", "&drift_reference"), ("head", "&drift_memory.head")),
        *(("rows", "drift_memory.rows"), ("classes", "drift_memory.classes")),
        ("order", "class_order"),
    )
    parts = [
        "/* Tables of drift_reference.h. */\n",
        '#include "drift_reference.h"\n\n',
        *(_steps(row, found) for row, found in enumerate(steps)),
        array(
            "const ek_drift_feature drift_features[DRIFT_ROWS]",
            (
                f"{{{f'steps_{row}' if found else 0}, {len(found)}}}"
                for row, found in enumerate(steps)
            ),
        ),
        _bets("feature_bets", even_bets(reference.samples, tolerance)),
        _bets("confidence_bets", even_bets(reference.answers, tolerance)),
        array("static const float class_shares[DRIFT_CLASSES]", map(_float, reference.classes)),
        array(f"static const float starts[{len(STARTS)}]", map(_float, STARTS)),
        statement("const ek_drift_reference drift_reference", braces(fields)),
        "drift_state drift_memory;\n",
        "static uint16_t class_order[DRIFT_CLASSES];\n",
        statement("const ek_drift drift_detector", braces(state)),
    ]
    return "".join(parts)


def _steps(row: int, steps: Sequence[Step]) -> str:
    literals = (
        f"{{{_float(step.value)}, {_float(step.below)}, {_float(step.at)}, {step.after}}}"
        for step in steps
    )
    return array(f"static const ek_drift_step steps_{row}[]", literals) if steps else ""


def _bets(name: str, bets: Bets) -> str:
    rows = ", ".join("{" + ", ".join(map(_float, row)) + "}" for row in bets.shapes)
    fields = (("shapes", f"{{{rows}}}"), ("radius", _float(bets.radius)))
    return statement(f"static const ek_drift_bets {name}", braces(fields))


def _float(number: float | np.floating) -> str:
    return float_literal(float(np.float32(number)))

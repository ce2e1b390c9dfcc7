"""`edgekiln targets predict`: a model's latency on a target, with a bound that holds at a rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .console import common_options, need_extra, print_json, print_table, say
from .errors import CheckFailedError
from .project import profile_folders
from .targets_output import project_option

if TYPE_CHECKING:
    from edgekiln.compiler.predict import Prediction


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "target_id", required=True, help="A profile's id.")
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 0.999),
    default=0.9,
    show_default=True,
    help="The rate at which the upper bound holds.",
)
@project_option
@common_options
def predict(
    model: Path, target_id: str, confidence: float, project: Path | None, as_json: bool
) -> None:
    """Predict what one inference of MODEL takes on a target, in each engine that runs there.

    Beside each prediction stands the error on models that its cost table was not fitted to, and how
    many of them the bound rests on. Exit code 1 where no engine can be priced.
    """
    need_extra("onnx")
    from edgekiln.compiler.predict import predict as run
    from edgekiln.targets import load_target

    found = run(model, load_target(target_id, profile_folders(project)), confidence)
    for prediction in found:
        if prediction.why_not:
            say(prediction.why_not)
    if as_json:
        print_json(found)
    else:
        print_table(f"{model.name} on {target_id}", _columns(confidence), [_row(p) for p in found])
    if all(prediction.estimate is None for prediction in found):
        raise CheckFailedError(f"{model}: nothing prices it on {target_id}")


def _columns(confidence: float) -> tuple[str, ...]:
    bound = f"at most, at {confidence:.4g}"
    return ("engine", "latency", bound, "tier", "bound rests on", "held-out error", "evidence")


def _row(prediction: Prediction) -> tuple[str, ...]:
    estimate, upper = prediction.estimate, prediction.upper_ms
    if estimate is None or upper is None:
        return (prediction.engine, *["not known"] * 2, *["–"] * 4)
    error = prediction.heldout_median_ape
    return (
        prediction.engine,
        f"{estimate.value:.4g} ms",
        f"{upper:.4g} ms",
        f"{estimate.tier.word} ({estimate.tier.name})",
        f"{prediction.interval}, n = {prediction.heldout}" if prediction.heldout else "not kept",
        "–" if error is None else f"{error:.1%}",
        estimate.evidence_id,
    )

"""`edgekiln search`: architectures inside each target's budget."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .calibrated import budget_of, known_targets
from .console import common_options, need_extra, print_json, print_table, say
from .outputs import ready_folder
from .project import (
    PREPROCESSING,
    data_source,
    load_project,
    open_dataset,
    override,
    profile_folders,
)

if TYPE_CHECKING:
    from edgekiln.compiler.input_schema import Method
    from edgekiln.search.result import SearchResult, TargetFront
    from edgekiln.targets import Target

    from .project import Project


@click.command()
@click.option("--data", "source", help="FILE.npz or sklearn:NAME. Default: edgekiln.toml.")
@click.option(
    "--preprocessing",
    type=click.Choice(PREPROCESSING),
    help="What networks are trained on. Default: [contract] of edgekiln.toml, else by the data.",
)
@click.option("--target", "target_ids", multiple=True, help="Default: those of edgekiln.toml.")
@click.option("--candidates", type=click.IntRange(2), help="How many to sieve.")
@click.option("--workers", type=click.IntRange(1))
@click.option("--seed", type=int)
@click.option("--deadline-s", type=click.FloatRange(min=1))
@click.option("--project", type=click.Path(path_type=Path), help="Default: edgekiln.toml here.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder; it resumes there.")
@common_options
def search(
    source: str | None,
    preprocessing: Method | None,
    target_ids: tuple[str, ...],
    candidates: int | None,
    workers: int | None,
    seed: int | None,
    deadline_s: float | None,
    project: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Sieve candidates by budget, train the survivors, keep a Pareto front per target."""
    need_extra("search")
    from edgekiln.compiler.data import described
    from edgekiln.search.loop import run_search
    from edgekiln.search.preflight import preflight
    from edgekiln.search.result import SearchRequest
    from edgekiln.targets import load_target

    settings = load_project(project)
    chosen = data_source(source, settings)
    options = override(
        settings.search, candidates=candidates, workers=workers, seed=seed, deadline_s=deadline_s
    )
    folder = out if out is not None else Path(options.out)
    dataset = open_dataset(chosen, settings, preprocessing)
    say(f"data: {described(dataset)}")
    ids = target_ids or tuple(settings.targets) or ("host",)
    profiles = profile_folders(project)
    targets = [budgeted(load_target(name, profiles), settings) for name in ids]
    request = SearchRequest(
        dataset=dataset,
        targets=tuple(targets),
        out=folder,
        seed=options.seed,
        candidates=options.candidates,
        workers=options.workers,
        deadline_s=options.deadline_s,
    )
    preflight(request)
    ready_folder(folder)
    known = known_targets(folder, targets, say)
    for note in known.notes:
        say(note)
    result = run_search(dataclasses.replace(request, targets=known.targets), say)
    if as_json:
        print_json(result)
        return
    for front in result.fronts:
        _print_front(front)
    _print_end(result, folder)


def budgeted(target: Target, settings: Project) -> Target:
    """The target with the limits that edgekiln.toml sets instead of its own."""
    wanted = budget_of(settings, target.id)
    own = target.budget
    return dataclasses.replace(
        target,
        budget=dataclasses.replace(
            own,
            latency_ms=own.latency_ms if wanted.latency_ms is None else wanted.latency_ms,
            ram_bytes=own.ram_bytes if wanted.ram_bytes is None else wanted.ram_bytes,
            flash_bytes=own.flash_bytes if wanted.flash_bytes is None else wanted.flash_bytes,
        ),
    )


def _print_front(front: TargetFront) -> None:
    rows = []
    for member in front.members:
        latency = member.footprint.timed
        rows.append(
            (
                "*" if member.candidate_id == front.chosen else "",
                member.candidate_id,
                f"{member.accuracy:.4f}",
                f"{latency.value:.3g} ms (≤ {latency.high:.3g})",
                f"{latency.tier.word} {latency.tier.name}",
                f"{member.footprint.ram.high:,.0f}",
                f"{member.footprint.flash.high:,.0f}",
            )
        )
    columns = ("", "candidate", "accuracy", "latency", "evidence", "RAM bytes", "flash bytes")
    print_table(f"Front of {front.target_id}", columns, rows)


def _print_end(result: SearchResult, folder: Path) -> None:
    scores = result.baseline.rungs
    baseline = f"{scores[-1].accuracy:.4f}" if scores else "not scored"
    say(
        f"{len(result.candidates)} candidates, {result.effort.trainings} trainings, "
        f"{result.effort.run_wall_s:.0f} s; scikit-learn baseline {baseline}"
    )
    if not result.complete:
        say("the deadline cut the search short; run it again with a later one and it goes on")
    say(f"next: edgekiln compile {folder} --target {result.fronts[0].target_id} -o model.ekb")

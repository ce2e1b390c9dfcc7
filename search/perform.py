"""What happens inside a worker: one job done with torch."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.runtime.files import write_atomic

from .blueprint import Blueprint
from .build import build_module, example_input
from .train import TrainingSet, load_arrays, save_arrays, train
from .worker import Done, ExportJob, Job, TrainJob, Workplace

if TYPE_CHECKING:
    from .train import Weights


def perform_with(workplace: Workplace) -> Callable[[Job], Done]:
    """The function that does jobs; loads the data once."""
    import torch

    torch.set_num_threads(1)
    data = TrainingSet.load(workplace.training_set)

    def perform(job: Job) -> Done:
        wall, cpu = time.monotonic(), time.process_time()
        blueprint = job.candidate.blueprint(workplace.input_shape, workplace.classes)
        accuracy = 0.0
        if isinstance(job, TrainJob):
            accuracy = _train(job, blueprint, data)
        else:
            _export(job, blueprint)
        return Done(accuracy, time.monotonic() - wall, time.process_time() - cpu)

    return perform


def export_module(blueprint: Blueprint, weights: Weights, path: Path) -> None:
    """Write the eval-mode module as a torch.export file, atomically."""
    import torch

    module = build_module(blueprint)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    program = torch.export.export(module.eval(), (example_input(blueprint),))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(path, buffer.getvalue())


def _train(job: TrainJob, blueprint: Blueprint, data: TrainingSet) -> float:
    fitted = train(blueprint, data, job.epochs, job.seed)
    save_arrays(job.weights, fitted.weights)
    return fitted.accuracy


def _export(job: ExportJob, blueprint: Blueprint) -> None:
    export_module(blueprint, load_arrays(job.weights), job.path)

"""Distillation: better or unchanged, repeatable, and in one line when it cannot be."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekiln.compiler.data import Dataset
from edgekiln.compiler.distil import Distilled, DistilSettings, distil, forward, model_inputs
from edgekiln.compiler.errors import CompileError, ImportModelError
from edgekiln.compiler.importers.torch_export import import_torch, load_program

SHORT = DistilSettings(epochs=2, learning_rate=2e-3)


def weights(program: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in program.state_dict.items()}


def export(net: torch.nn.Module, shape: tuple[int, ...], dynamic: bool = True) -> Any:
    batch = ({0: torch.export.Dim("batch")},) if dynamic else None
    return torch.export.export(net.eval(), (torch.zeros(shape),), dynamic_shapes=batch)


@pytest.mark.slow
def test_student_gets_better_when_its_teacher_is(
    digits: Dataset, student_path: Path, teacher_path: Path
) -> None:
    done = distil(
        load_program(student_path), load_program(teacher_path), digits, settings=SHORT, seed=0
    )
    assert done.improved
    assert done.after.accuracy > done.before.accuracy
    assert done.teacher.accuracy > done.before.accuracy
    assert len(import_torch(done.program, "student").nodes) > 0


@dataclasses.dataclass(frozen=True, slots=True)
class Lesson:
    """One distillation and what was there before it."""

    student: Any
    before: dict[str, np.ndarray]
    test_openings: int
    done: Distilled


@pytest.fixture(scope="module")
def lesson(digits: Dataset, student_path: Path, teacher_path: Path) -> Lesson:
    student, opened = load_program(student_path), digits.test_openings
    before = weights(student)
    done = distil(student, load_program(teacher_path), digits, settings=SHORT, seed=7)
    return Lesson(student, before, opened, done)


def test_weights_are_the_same_bytes_when_distilled_twice(
    lesson: Lesson, digits: Dataset, student_path: Path, teacher_path: Path
) -> None:
    programs = (load_program(path) for path in (student_path, teacher_path))
    again = weights(distil(*programs, digits, settings=SHORT, seed=7).program)
    once = weights(lesson.done.program)
    assert all(np.array_equal(once[name], again[name]) for name in once)


def test_batch_norm_statistics_and_the_given_student_stay_when_training(lesson: Lesson) -> None:
    before, after, kept = lesson.before, weights(lesson.done.program), weights(lesson.student)
    running = [name for name in before if "running" in name]
    assert running
    assert all(np.array_equal(before[name], after[name]) for name in running)
    assert all(np.array_equal(before[name], kept[name]) for name in before)
    assert any(not np.array_equal(before[name], after[name]) for name in before)


def test_student_is_returned_unchanged_when_training_makes_it_worse(
    digits: Dataset, student_path: Path, teacher_path: Path
) -> None:
    student = load_program(student_path)
    wild = DistilSettings(epochs=1, learning_rate=10.0)
    done = distil(student, load_program(teacher_path), digits, settings=wild, seed=0)
    assert not done.improved
    assert done.program is student
    assert done.after.rank < done.before.rank


def test_test_split_stays_sealed_when_distilling(lesson: Lesson, digits: Dataset) -> None:
    assert digits.test_openings == lesson.test_openings


def test_any_batch_runs_when_the_program_was_exported_for_one() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 2),
    )
    program = export(net, (1, 3, 4, 4), dynamic=False)
    x = torch.randn(5, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(forward(program)(x), net(x))


def test_one_line_is_said_when_the_batch_is_fixed_to_another_number() -> None:
    program = export(torch.nn.Linear(4, 2), (3, 4), dynamic=False)
    with pytest.raises(ImportModelError, match="fixed batch of 3; export it with a dynamic batch"):
        forward(program)


def test_samples_take_the_layout_of_the_model_when_they_can() -> None:
    x = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    image = model_inputs(export(torch.nn.Conv2d(3, 1, 1), (2, 3, 4, 5)), x)
    assert image.shape == (2, 3, 4, 5)
    assert image[1, 2, 3, 4] == x[1, 3, 4, 2]
    flat = model_inputs(export(torch.nn.Linear(60, 2), (2, 60)), x)
    assert torch.equal(flat[0], torch.arange(60.0))
    with pytest.raises(ImportModelError, match=r"takes samples of shape \(7,\)"):
        model_inputs(export(torch.nn.Linear(7, 2), (2, 7)), x)


def test_sequences_take_the_layout_of_the_model_when_they_come_as_images_of_one_channel() -> None:
    x = np.arange(2 * 5 * 6, dtype=np.float32).reshape(2, 5, 6, 1)
    channels_first = model_inputs(export(torch.nn.Conv1d(6, 1, 1), (2, 6, 5)), x)
    assert channels_first.shape == (2, 6, 5)
    assert channels_first[1, 4, 3] == x[1, 3, 4, 0]
    steps_first = model_inputs(export(torch.nn.Linear(6, 2), (2, 5, 6)), x)
    assert torch.equal(steps_first, torch.from_numpy(x[..., 0]))


def test_one_line_is_said_when_the_teacher_has_other_classes(
    digits: Dataset, student_path: Path
) -> None:
    teacher = export(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)), (2, 1, 8, 8))
    with pytest.raises(CompileError, match="the teacher has 4 classes, the student 10"):
        distil(load_program(student_path), teacher, digits, settings=SHORT, seed=0)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"temperature": 0.0}, {"alpha": 1.5}, {"learning_rate": -1.0}]
)
def test_settings_are_refused_when_out_of_range(change: dict[str, float]) -> None:
    with pytest.raises(CompileError, match="distillation needs"):
        dataclasses.replace(SHORT, **change)

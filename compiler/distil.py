"""`distil`: fine-tune a trained student on its teacher's soft answers (Hinton et al., 2015).

The student stays an `ExportedProgram`: its parameters are trained in place in a copy, its graph
never changes, so whatever could be imported before can be imported after. It was exported in
eval mode, hence batch-norm statistics stay frozen and dropout is gone.

One thread and a seeded order: the same inputs give the same weights on one machine. More threads
would also be slower here: torch's OpenMP threads spin.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from .errors import CompileError, ImportModelError

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

    from .data import Dataset

Floats = npt.NDArray[np.float32]
Forward = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True, slots=True)
class DistilSettings:
    """`loss = alpha · T² · KL(teacher ‖ student) + (1 - alpha) · cross-entropy`, both at T."""

    epochs: int = 6
    temperature: float = 3.0
    alpha: float = 0.7
    learning_rate: float = 1e-3
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise CompileError("distillation needs at least one epoch and a batch of one")
        if self.temperature <= 0 or self.learning_rate <= 0 or not 0 <= self.alpha <= 1:
            raise CompileError(
                "distillation needs temperature > 0, learning rate > 0 and alpha between 0 and 1"
            )


@dataclass(frozen=True, slots=True)
class Score:
    """On the validation split: the share of right answers and the mean cross-entropy (nats)."""

    accuracy: float
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: accuracy first, the loss decides ties."""
        return (self.accuracy, -self.loss)


@dataclass(frozen=True, slots=True)
class Distilled:
    """The better of both programs; `improved` says whether it is the fine-tuned one."""

    program: ExportedProgram
    before: Score
    after: Score
    teacher: Score
    improved: bool


@dataclass(frozen=True)
class _Split:
    """Preprocessed samples as tensors of the model's own shape, and their labels."""

    inputs: torch.Tensor
    labels: torch.Tensor


def distil(
    student: ExportedProgram,
    teacher: ExportedProgram,
    dataset: Dataset,
    *,
    settings: DistilSettings,
    seed: int,
) -> Distilled:
    """Train a copy of `student` on the training split; the validation split picks the winner.

    Args:
        student: float32 classifier in eval mode, input (batch, c, h, w) or (batch, features).
        teacher: the same, of any architecture; only its logits are used.
        dataset: raw samples; the contract's preprocessing is applied here.
        settings: epochs, temperature, weight of the teacher and optimizer.
        seed: of the sample order, the only randomness.

    Raises:
        CompileError: the teacher answers with another number of classes.
        ImportModelError: a program does not take the data set's samples.
    """
    import torch

    with _one_thread():
        tuned = _copy(student)
        train, validation = (
            _split(student, dataset, indices) for indices in (dataset.train, dataset.validation)
        )
        before = _score(forward(student), validation)
        with torch.no_grad():
            answers = forward(teacher)(_split(teacher, dataset, dataset.train).inputs)
        _check_classes(forward(student), answers, train)
        _train(tuned, train, answers, settings, seed)
        after = _score(forward(tuned), validation)
        guide = _score(forward(teacher), _split(teacher, dataset, dataset.validation))
    improved = after.rank > before.rank
    return Distilled(tuned if improved else student, before, after, guide, improved)


def forward(program: ExportedProgram) -> Forward:
    """Logits of a batch of any size, also where the program was exported for a batch of one.

    Raises:
        ImportModelError: the program was exported for another fixed batch.
    """
    import torch

    module: Any = program.module(check_guards=False)
    batch = _input_shape(program)[0]
    if not isinstance(batch, int):
        return cast(Forward, module)
    if batch != 1:
        raise ImportModelError(
            f"the model was exported for a fixed batch of {batch}; export it with a dynamic batch "
            "axis (dynamic_shapes={0: torch.export.Dim('batch')}) or a batch of 1"
        )
    return torch.func.vmap(lambda sample: module(sample[None])[0])


def model_inputs(program: ExportedProgram, samples: Floats) -> torch.Tensor:
    """Preprocessed samples (n, h, w, c) or (n, f) in the program's layout.

    Sequences come as images of one channel, (n, steps, features, 1).

    Raises:
        ImportModelError: no layout of the samples has the shape that the program takes.
    """
    import torch

    wanted = tuple(_input_shape(program)[1:])
    layouts = [samples]
    if samples.ndim == 4:
        layouts.append(samples.transpose(0, 3, 1, 2))
        if len(wanted) == 2 and samples.shape[3] == 1:
            layouts.append(_sequences(program, samples[..., 0]))
    layouts.append(samples.reshape(len(samples), -1))
    for layout in layouts:
        if layout.shape[1:] == wanted:
            return torch.from_numpy(np.ascontiguousarray(layout))
    raise ImportModelError(
        f"the model takes samples of shape {wanted}, the data set has {samples.shape[1:]}"
    )


def _sequences(program: ExportedProgram, samples: Floats) -> Floats:
    """Samples in the graph's order of axes, (n, steps, features), in the program's."""
    from .importers.torch_export import import_program

    (port,) = import_program(program, "sequence").inputs
    return samples if port.order == (1, 2) else samples.transpose(0, 2, 1)


def _copy(program: ExportedProgram) -> ExportedProgram:
    """Through a file in memory: `copy.deepcopy` renames inputs that are called like a builtin."""
    import torch

    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file)


def _input_shape(program: ExportedProgram) -> tuple[Any, ...]:
    names = program.graph_signature.user_inputs
    if len(names) != 1:
        raise ImportModelError(f"the model has {len(names)} inputs; classifiers here take one")
    node = next(node for node in program.graph.nodes if node.name == names[0])
    return tuple(node.meta["val"].shape)


def _split(program: ExportedProgram, dataset: Dataset, indices: npt.NDArray[np.int64]) -> _Split:
    import torch

    samples = dataset.contract.preprocess(dataset.x[indices])
    return _Split(model_inputs(program, samples), torch.from_numpy(dataset.y[indices].copy()))


def _check_classes(student: Forward, answers: torch.Tensor, train: _Split) -> None:
    import torch

    with torch.no_grad():
        classes = student(train.inputs[:1]).shape[-1]
    if answers.shape[-1] != classes:
        raise CompileError(
            f"the teacher has {answers.shape[-1]} classes, the student {classes}; "
            "both must be trained on the same classes"
        )


def _score(model: Forward, split: _Split) -> Score:
    import torch

    with torch.no_grad():
        logits = model(split.inputs)
        loss = torch.nn.functional.cross_entropy(logits, split.labels)
        hits = (logits.argmax(dim=1) == split.labels).double().mean()
    return Score(accuracy=float(hits), loss=float(loss))


def _train(
    program: ExportedProgram,
    split: _Split,
    answers: torch.Tensor,
    settings: DistilSettings,
    seed: int,
) -> None:
    """Trains the parameters of `program` in place."""
    import torch
    from torch.nn import functional

    model = forward(program)
    parameters = [p for p in program.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
    order = np.random.default_rng(seed)
    T, alpha = settings.temperature, settings.alpha
    for _ in range(settings.epochs):
        for rows in _batches(order.permutation(len(split.labels)), settings.batch_size):
            logits = model(split.inputs[rows])
            soft = functional.kl_div(
                functional.log_softmax(logits / T, dim=1),
                functional.log_softmax(answers[rows] / T, dim=1),
                reduction="batchmean",
                log_target=True,
            )
            hard = functional.cross_entropy(logits, split.labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(alpha * T * T * soft + (1 - alpha) * hard)
            optimizer.step()


def _batches(order: npt.NDArray[np.int64], size: int) -> Iterator[torch.Tensor]:
    import torch

    for start in range(0, len(order), size):
        yield torch.from_numpy(order[start : start + size])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

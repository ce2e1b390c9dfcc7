"""`MlpSpace`: fully connected networks for flat inputs, and the choice of a space."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .blueprint import Blueprint
from .errors import SpaceError
from .space import Candidate, ConvSpace, MlpCandidate, Space


@dataclass(frozen=True)
class MlpSpace:
    """Candidates over inputs of (features,)."""

    input_shape: tuple[int, ...]
    classes: int
    widths: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
    max_layers: int = 3

    def sample(self, rng: random.Random) -> MlpCandidate:
        """One to `max_layers` hidden layers."""
        layers = rng.randint(1, self.max_layers)
        return MlpCandidate(tuple(rng.choice(self.widths) for _ in range(layers)))

    def mutate(self, candidate: Candidate, rng: random.Random) -> MlpCandidate:
        """Redraw, drop or add one hidden layer."""
        if not isinstance(candidate, MlpCandidate):
            raise SpaceError(f"a fully connected space cannot mutate {type(candidate).__name__}")
        widths = list(candidate.widths)
        place = rng.randrange(len(widths))
        if rng.random() < 0.5:
            widths[place] = rng.choice(self.widths)
        elif len(widths) > 1 and rng.random() < 0.5:
            del widths[place]
        elif len(widths) < self.max_layers:
            widths.insert(place, rng.choice(self.widths))
        return MlpCandidate(tuple(widths))

    def smallest(self) -> MlpCandidate:
        """One narrow hidden layer."""
        return MlpCandidate((min(self.widths),))

    def largest(self) -> MlpCandidate:
        """As deep and wide as the space goes."""
        return MlpCandidate((max(self.widths),) * self.max_layers)

    def blueprint(self, candidate: Candidate) -> Blueprint:
        """The candidate's layers on this space's input."""
        return candidate.blueprint(self.input_shape, self.classes)


def space_for(input_shape: tuple[int, ...], classes: int) -> Space:
    """The space for one sample's shape.

    Raises:
        SpaceError: the shape is not (features,), (time, channels) or (height, width, channels).
    """
    if len(input_shape) == 1:
        return MlpSpace(input_shape, classes)
    if len(input_shape) == 2:  # a series: an image of one channel, as it lies
        return ConvSpace((*input_shape, 1), classes)
    if len(input_shape) == 3:
        return ConvSpace(input_shape, classes)
    msg = (
        f"no search space covers inputs of shape {input_shape}; "
        "give (features,), (time, channels) or (height, width, channels)"
    )
    raise SpaceError(msg)

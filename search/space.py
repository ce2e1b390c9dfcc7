"""`ConvSpace`: the 2-D convolutional networks that a search may propose, and their identity.

A candidate is plain data. Its id is the hash of its canonical fields, so a field that a block
does not use never makes two names for one network: `expansion` is 1 except in inverted blocks.

Sources of the blocks: separable, MobileNet (arXiv 1704.04861); inverted, MobileNetV2
(1801.04381); residual, ResNet (1512.03385).
"""

from __future__ import annotations

import enum
import hashlib
import random
from dataclasses import dataclass
from typing import Protocol

import msgspec

from .blueprint import Blueprint, ConvNet, ConvStep, DenseNet, Stage, out_size
from .errors import SpaceError

_STRIDE_NEEDS = 4  # an axis shorter than this is not halved any more
_STEM_HALVES = 24  # images at least this large are halved by the stem


class BlockKind(enum.StrEnum):
    """What a block is made of."""

    CONV = "conv"
    SEPARABLE = "separable"  # depthwise, then 1×1
    INVERTED = "inverted"  # 1×1 up, depthwise, 1×1 down, linear
    RESIDUAL = "residual"  # two convolutions and a sum


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One block; `width` is its output channels."""

    kind: BlockKind
    width: int
    kernel: int
    stride: int = 1
    expansion: int = 1


class ConvCandidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="conv"):
    """A stem convolution, blocks, global mean, linear."""

    stem_width: int
    stem_kernel: int
    stem_stride: int
    blocks: tuple[Block, ...]

    def blueprint(self, input_shape: tuple[int, ...], classes: int) -> ConvNet:
        """Layers over an input of (height, width, channels)."""
        height, width, channels = input_shape
        stages = [Stage((ConvStep(self.stem_width, self.stem_kernel, self.stem_stride),))]
        incoming = self.stem_width
        for block in self.blocks:
            stages.append(_stage(block, incoming))
            incoming = block.width
        return ConvNet((height, width, channels), tuple(stages), classes)


class MlpCandidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="mlp"):
    """Hidden layers with ReLU, then linear; no hidden layer is a linear classifier."""

    widths: tuple[int, ...]

    def blueprint(self, input_shape: tuple[int, ...], classes: int) -> DenseNet:
        """Layers over the flattened input."""
        return DenseNet(input_shape, self.widths, classes)


Candidate = ConvCandidate | MlpCandidate


def candidate_id(candidate: Candidate) -> str:
    """Twelve hexadecimal digits of the sha256 over the candidate's fields."""
    return hashlib.sha256(msgspec.json.encode(candidate)).hexdigest()[:12]


class Space(Protocol):
    """What a search asks of a space. Input shape and number of classes are the space's own."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One sample's shape, without the batch axis."""

    @property
    def classes(self) -> int:
        """Number of classes."""

    def sample(self, rng: random.Random) -> Candidate:
        """A valid candidate."""

    def mutate(self, candidate: Candidate, rng: random.Random) -> Candidate:
        """A valid neighbour, which may equal the candidate."""

    def smallest(self) -> Candidate:
        """The cheapest candidate: when it breaks a budget, so does every other one."""

    def largest(self) -> Candidate:
        """The candidate with the most capacity: the teacher."""

    def blueprint(self, candidate: Candidate) -> Blueprint:
        """The candidate's layers on this space's input."""


@dataclass(frozen=True)
class ConvSpace:
    """Candidates over inputs of (height, width, channels)."""

    input_shape: tuple[int, ...]
    classes: int
    widths: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32, 48)
    kernels: tuple[int, ...] = (3, 5)
    expansions: tuple[int, ...] = (2, 3, 4)
    max_blocks: int = 5

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            msg = f"images need (height, width, channels), the data has {self.input_shape}"
            raise SpaceError(msg)

    def sample(self, rng: random.Random) -> ConvCandidate:
        """A valid candidate; widths grow along the network more often than not."""
        rank = rng.randrange(len(self.widths) - 2)
        blocks = []
        for _ in range(rng.randint(0, self.max_blocks)):
            rank = min(rank + rng.choice((0, 0, 1, 1, 2)), len(self.widths) - 1)
            blocks.append(self._block(self.widths[rank], rng))
        raw = ConvCandidate(
            self.widths[rng.randint(0, min(rank, 4))],
            rng.choice(self.kernels),
            rng.choice((1, 2)),
            tuple(blocks),
        )
        return self._mend(raw)

    def mutate(self, candidate: Candidate, rng: random.Random) -> ConvCandidate:
        """Add, drop or redraw one block, or redraw the stem."""
        if not isinstance(candidate, ConvCandidate):
            raise SpaceError(f"a convolutional space cannot mutate {type(candidate).__name__}")
        blocks = list(candidate.blocks)
        place = rng.randint(0, len(blocks))
        moves = {
            "add": len(blocks) < self.max_blocks,
            "drop": place < len(blocks),
            "redraw": place < len(blocks),
            "stem": True,
        }
        move = rng.choice([name for name, possible in moves.items() if possible])
        stem = (candidate.stem_width, candidate.stem_kernel, candidate.stem_stride)
        if move == "add":
            blocks.insert(place, self._block(rng.choice(self.widths), rng))
        elif move == "drop":
            del blocks[place]
        elif move == "redraw":
            blocks[place] = self._block(self._near(blocks[place].width, rng), rng)
        else:
            stem = (self._near(stem[0], rng), rng.choice(self.kernels), rng.choice((1, 2)))
        return self._mend(ConvCandidate(*stem, tuple(blocks)))

    def smallest(self) -> ConvCandidate:
        """A narrow stem and the linear layer."""
        return self._mend(ConvCandidate(min(self.widths), min(self.kernels), 2, ()))

    def largest(self) -> ConvCandidate:
        """A wide residual network, halved once early so that one core can train it."""
        width, kernel = max(self.widths), min(self.kernels)
        down = Block(BlockKind.CONV, width, kernel, stride=2)
        wide = Block(BlockKind.RESIDUAL, width, kernel)
        body = (down, *[wide] * (self.max_blocks - 2))
        return self._mend(ConvCandidate(width, kernel, 1, body))

    def blueprint(self, candidate: Candidate) -> Blueprint:
        """The candidate's layers on this space's input."""
        return candidate.blueprint(self.input_shape, self.classes)

    def _near(self, width: int, rng: random.Random) -> int:
        rank = self.widths.index(width) + rng.choice((-1, 0, 1))
        return self.widths[min(max(rank, 0), len(self.widths) - 1)]

    def _block(self, width: int, rng: random.Random) -> Block:
        return Block(
            rng.choice(tuple(BlockKind)),
            width,
            rng.choice(self.kernels),
            rng.choice((1, 1, 2)),
            rng.choice(self.expansions),
        )

    def _mend(self, candidate: ConvCandidate) -> ConvCandidate:
        """The nearest canonical candidate whose strides and kernels the image size allows."""
        size = min(self.input_shape[:2])
        stem_stride = 2 if size >= _STEM_HALVES else _stride(candidate.stem_stride, size)
        stem_kernel = self._kernel(candidate.stem_kernel, size)
        size, incoming = out_size(size, stem_stride), candidate.stem_width
        blocks = []
        for block in candidate.blocks:
            residual = block.kind is BlockKind.RESIDUAL
            stride = 1 if residual else _stride(block.stride, size)
            width = incoming if residual else block.width
            expansion = block.expansion if block.kind is BlockKind.INVERTED else 1
            kernel = self._kernel(block.kernel, size)
            blocks.append(Block(block.kind, width, kernel, stride, expansion))
            size, incoming = out_size(size, stride), width
        return ConvCandidate(candidate.stem_width, stem_kernel, stem_stride, tuple(blocks))

    def _kernel(self, kernel: int, size: int) -> int:
        return kernel if kernel <= size + 1 else min(self.kernels)


def _stride(wanted: int, size: int) -> int:
    return wanted if size >= _STRIDE_NEEDS else 1


def _stage(block: Block, incoming: int) -> Stage:
    kernel, stride, width = block.kernel, block.stride, block.width
    if block.kind is BlockKind.CONV:
        return Stage((ConvStep(width, kernel, stride),))
    if block.kind is BlockKind.SEPARABLE:
        return Stage((ConvStep(incoming, kernel, stride, depthwise=True), ConvStep(width, 1)))
    if block.kind is BlockKind.RESIDUAL:
        steps = (ConvStep(width, kernel), ConvStep(width, kernel, relu=False))
        return Stage(steps, residual=True, relu_after_sum=True)
    inner = incoming * block.expansion
    expand = ConvStep(inner, 1)
    filter_ = ConvStep(inner, kernel, stride, depthwise=True)
    project = ConvStep(width, 1, relu=False)
    return Stage((expand, filter_, project), residual=stride == 1 and incoming == width)

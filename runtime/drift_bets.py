"""`Bets`: the tables that drift detectors bet with, and why none of them can win by chance.

A bet is a number for each bin, positive, which the evidence is multiplied with when an observation
falls into that bin. The detectors' guarantee needs one thing of it: its mean is at most 1 under
every distribution that is no drift. Those are all P within a total variation of `tolerance` of Q,
which the training samples were drawn from; of Q itself the reference knows n samples, with shares
q over the bins.

**Shapes.** Eight changes are bet on from the first observation: a shift of the feature by a
quarter, half and whole standard deviation either way, a spread of 3/2 and of 2/3. The bins are
equally full in training, so on the normal scale of a feature each shape is one table of shares p
for all features. The bet on bin i is p_i / q_i clipped to [a, b], where a and b solve

    sum (p_i / b - q_i)+  =  sum (q_i - p_i / a)+  =  tolerance.

That is p over its projection on the ball of total variation around q (Huber's robust test, 1965;
the reverse information projection of Grünwald, de Heide and Koolen, 2024): its mean under q is
1 - tolerance · (b - a), so at most 1 in the ball around q, and it grows as fast as any such bet can
under p. Around Q instead of q the mean is larger by the difference of its means under Q and q,
which is the error of a mean of n samples: its standard deviation s over sqrt(n). So the bet is
divided by 1 + SIGMAS · s / sqrt(n).

**What was learned.** Any other change is bet on with the shares of the last 128 or so observations
as p, clipped in the same way. These follow the noise of q as well, in whatever direction it lies,
so that the ball needs a radius that holds Q, too: the tolerance, and the total variation between a
sample of n and what it was drawn from, its mean and SIGMAS standard deviations.

What SIGMAS leaves out, the noise of one shape in 44 (in 33 with 300 samples), matters only where a
change as large as the tolerance comes on top: with no change at all there is the tolerance as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SIGMAS = 2.0
BET_LIMIT = 6.0  # of learned bets: no evidence grows out of float32 between two bounds on it
# Evidence is forgotten, so that of level bets it stays under start / FADE, and an alarm ends.
FADE = 0.001
LEARNED_FADE = 0.005  # more: what was learned becomes level where nothing happens

Float = npt.NDArray[np.float32]

# Millionths in 16 bins, equally full before, of a normal distribution that was shifted or spread.
_UP_QUARTER = (
    *(37202, 43502, 47034, 49877, 52406, 54779, 57089, 59404),
    *(61782, 64286, 66999, 70035, 73590, 78048, 84417, 99550),
)
_UP_HALF = (
    *(20970, 28466, 33263, 37401, 41287, 45110, 48994, 53047),
    *(57379, 62126, 67480, 73737, 81416, 91591, 107193, 150540),
)
_UP_WHOLE = (
    *(5636, 10127, 13807, 17447, 21256, 25372, 29928, 35083),
    *(41046, 48121, 56776, 67800, 82676, 104682, 143615, 296629),
)
_WIDER = (
    *(153214, 68357, 55545, 49362, 45791, 43619, 42351, 41762),
    *(41762, 42351, 43619, 45791, 49362, 55545, 68357, 153214),
)
_NARROWER = (
    *(10691, 31526, 49424, 64192, 75897, 84611, 90390, 93270),
    *(93270, 90390, 84611, 75897, 64192, 49424, 31526, 10691),
)
SHAPES = tuple(
    tuple(millionths / sum(shape) for millionths in shape)
    for shape in (
        *(_UP_QUARTER, _UP_QUARTER[::-1], _UP_HALF, _UP_HALF[::-1]),
        *(_UP_WHOLE, _UP_WHOLE[::-1], _WIDER, _NARROWER),
    )
)
# With what each shape's evidence and, last, that of what was learned starts; together 1. Most on
# the small changes, whose evidence takes longest to grow.
STARTS = (0.15, 0.15, 0.2, 0.2, 0.05, 0.05, 0.05, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Bets:
    """Bets on `shapes` (bins, number of shapes), float32, and the radius of what is no drift.

    The radius, of the learned bets, is a total variation; for even bins times their number.
    """

    shapes: Float
    radius: np.float32


def even_bets(samples: int, tolerance: float) -> Bets:
    """Bets on 16 bins that were equally full in so many samples of training data."""
    bins = len(SHAPES[0])
    even = [1 / bins] * bins
    columns = [shape_bets(shape, even, samples, tolerance) for shape in SHAPES]
    radius = bins * (tolerance + sampling_variation(even, samples))
    return Bets(np.array(columns, np.float32).T, np.float32(radius))


def class_bets(shares: Sequence[float], samples: int, tolerance: float) -> Bets:
    """Bets on classes that had these shares, all positive, in so many answers: no shapes."""
    radius = tolerance + sampling_variation(shares, samples)
    return Bets(np.empty((len(shares), 0), np.float32), np.float32(radius))


def shape_bets(
    shape: Sequence[float], shares: Sequence[float], samples: int, tolerance: float
) -> list[float]:
    """The bets on each bin for a change from `shares` to the shares `shape`, each summing to 1."""
    low, high = _bounds(shape, shares, tolerance)
    bets = [min(max(p / q, low), high) for p, q in zip(shape, shares, strict=True)]
    mean = math.fsum(q * bet for q, bet in zip(shares, bets, strict=True))
    variance = math.fsum(q * (bet - mean) ** 2 for q, bet in zip(shares, bets, strict=True))
    noise = SIGMAS * math.sqrt(variance / samples)
    return [bet / (1 + noise) * (1 - FADE) for bet in bets]


def sampling_variation(shares: Sequence[float], samples: int) -> float:
    """Total variation between shares and a sample of that size drawn from them: mean and SIGMAS.

    It is half the sum of the absolute deviations. Of a normal deviation the mean absolute is
    sqrt(2 / pi) of the standard deviation s, and what is left of the variance 1 - 2 / pi. The
    spread of the sum is at most the sum of the spreads; and at most 1 / sqrt(n), as each of n
    samples moves it by no more than 2 / n (McDiarmid, 1989).
    """
    deviations = math.fsum(math.sqrt(share * (1 - share) / samples) for share in shares)
    mean = math.sqrt(2 / math.pi) * deviations
    spread = min(math.sqrt(1 - 2 / math.pi) * deviations, 1 / math.sqrt(samples))
    return (mean + SIGMAS * spread) / 2


def _bounds(
    shape: Sequence[float], shares: Sequence[float], tolerance: float
) -> tuple[float, float]:
    """a and b of the module's text.

    Both are extremes over prefixes of the bins by rising ratio: for the right prefix the sum there
    has exactly its terms, and every other prefix bounds the root from the same side.
    """
    rising = sorted(zip(shape, shares, strict=True), key=lambda pair: pair[0] / pair[1])
    low, high = 1.0, 1.0
    for count in range(1, len(rising) + 1):
        spare = math.fsum(q for _, q in rising[:count]) - tolerance
        if spare > 0:
            low = min(low, math.fsum(p for p, _ in rising[:count]) / spare)
        filled = math.fsum(q for _, q in rising[-count:]) + tolerance
        high = max(high, math.fsum(p for p, _ in rising[-count:]) / filled)
    return low, high

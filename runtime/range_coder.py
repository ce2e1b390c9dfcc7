"""A binary range coder with adaptive probabilities: whole numbers only, the same on every machine.

The interval [low, high] of 32 bits is split at

    mid = low + (range >> 16) · p + (((range & 0xffff) · p) >> 16),    range = high - low

where p / 65536 is the chance that the model gives to a one, which takes the part up to `mid`. While
`low` and `high` begin with the same byte, that byte is written. After each bit its model moves:
a one adds ((65536 - p) · RATES[n]) >> 16 to p, a zero takes (p · RATES[n]) >> 16 away, where n
counts what the model has seen, up to LIMIT. A model begins with p = 32768 and n = 0.

Both classes have the same methods, so that one description of a format reads and writes it: what
is to be written is the last argument, which reading ignores; every method returns what was coded.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable

from .errors import DeltaError

LIMIT = 127
RATES = tuple(65536 * 2 // (2 * seen + 3) for seen in range(LIMIT + 1))
LAST_RATE = RATES[LIMIT]
NUMBER_BITS = 33  # of the largest number: 2^32
PREFIX_BITS = (
    3  # below the leading one of a number, that are modelled; others are taken as they are
)
NUMBER_LENGTHS = NUMBER_BITS + 1  # models of a number's length, in one context
NUMBER_PREFIXES = (NUMBER_BITS + 1) << PREFIX_BITS  # models that all contexts share
BYTE_MODELS = 256

_HALF = 32768
_MASK = 0xFFFFFFFF


class Models:
    """Probabilities of a one, by number; all begin undecided."""

    def __init__(self, count: int) -> None:
        self.chances = array("H", [_HALF]) * count
        self.seen = bytearray(count)

    def copy(self) -> Models:
        """The same, to be changed by itself."""
        other = Models(0)
        other.chances, other.seen = self.chances[:], self.seen[:]
        return other

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return self.chances.itemsize * len(self.chances) + len(self.seen)


class RangeEncoder:
    """Writes to `out`."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.out = bytearray()
        self._low, self._high = 0, _MASK

    def fork(self) -> RangeEncoder:
        """Another that goes on from here by itself."""
        other = RangeEncoder(self.models.copy())
        other.out = bytearray(self.out)
        other._low, other._high = self._low, self._high
        return other

    def bit(self, model: int, value: int) -> int:
        """One bit by a model."""
        models = self.models
        chance, seen = models.chances[model], models.seen[model]
        if value:
            models.chances[model] = chance + ((65536 - chance) * RATES[seen] >> 16)
        else:
            models.chances[model] = chance - (chance * RATES[seen] >> 16)
        if seen < LIMIT:
            models.seen[model] = seen + 1
        self._split(chance, value)
        return value

    def even(self, count: int, value: int) -> int:
        """`count` bits without a model, the most significant first."""
        for place in range(count - 1, -1, -1):
            self._split(_HALF, value >> place & 1)
        return value

    def number(self, lengths: int, prefixes: int, value: int) -> int:
        """A whole number from 0 to 2^32: its length by the models from `lengths`, then its bits."""
        return _number(self, lengths, prefixes, value)

    def byte(self, first: int, value: int) -> int:
        """Eight bits, the most significant first, by the BYTE_MODELS models from `first`."""
        return _byte(self, first, value)

    def finish(self) -> bytes:
        """Everything written; the encoder cannot be used afterwards."""
        self.out += self._high.to_bytes(4, "big")
        return bytes(self.out)

    def _split(self, chance: int, value: int) -> None:
        low, high = self._low, self._high
        span = high - low
        mid = low + (span >> 16) * chance + ((span & 0xFFFF) * chance >> 16)
        if value:
            high = mid
        else:
            low = mid + 1
        while not (low ^ high) & 0xFF000000:
            self.out.append(high >> 24)
            low = low << 8 & _MASK
            high = high << 8 & _MASK | 0xFF
        self._low, self._high = low, high


class RangeDecoder:
    """Reads what `read(count)` gives: `count` bytes, fewer at the end."""

    def __init__(self, models: Models, read: Callable[[int], bytes]) -> None:
        """Raises DeltaError where there is nothing to read."""
        self._chances, self._seen = models.chances, models.seen
        self._read = read
        self._chunk, self._at = b"", 0
        self._low, self._high, self._code = 0, _MASK, 0
        for _ in range(4):
            self._code = self._code << 8 | self._next()

    def bit(self, model: int, value: int = 0) -> int:
        """One bit by a model. Raises DeltaError where the bytes end."""
        chance, rate = self._chances[model], RATES[self._seen[model]]
        low, high = self._low, self._high
        span = high - low
        mid = low + (span >> 16) * chance + ((span & 0xFFFF) * chance >> 16)
        if self._code <= mid:
            value, high = 1, mid
            self._chances[model] = chance + ((65536 - chance) * rate >> 16)
        else:
            value, low = 0, mid + 1
            self._chances[model] = chance - (chance * rate >> 16)
        if rate != LAST_RATE:
            self._seen[model] += 1
        self._low, self._high = low, high
        if not (low ^ high) & 0xFF000000:
            self._shift()
        return value

    def even(self, count: int, value: int = 0) -> int:
        """`count` bits without a model."""
        value = 0
        for _ in range(count):
            mid = self._low + (self._high - self._low >> 16) * _HALF
            mid += (self._high - self._low & 0xFFFF) * _HALF >> 16
            if self._code <= mid:
                value, self._high = value << 1 | 1, mid
            else:
                value, self._low = value << 1, mid + 1
            if not (self._low ^ self._high) & 0xFF000000:
                self._shift()
        return value

    def number(self, lengths: int, prefixes: int, value: int = 0) -> int:
        """A whole number, as `RangeEncoder.number` writes it."""
        return _number(self, lengths, prefixes, value)

    def byte(self, first: int, value: int = 0) -> int:
        """Eight bits, as `RangeEncoder.byte` writes them."""
        return _byte(self, first, value)

    def finish(self) -> None:
        """Raises DeltaError unless every byte has been read."""
        if self._at < len(self._chunk) or self._read(1):
            raise DeltaError("the delta goes on after its end")

    def _shift(self) -> None:
        while not (self._low ^ self._high) & 0xFF000000:
            self._low = self._low << 8 & _MASK
            self._high = self._high << 8 & _MASK | 0xFF
            self._code = self._code << 8 & _MASK | self._next()

    def _next(self) -> int:
        if self._at == len(self._chunk):
            self._chunk, self._at = self._read(_CHUNK_BYTES), 0
            if not self._chunk:
                raise DeltaError("the delta ends too early")
        self._at += 1
        return self._chunk[self._at - 1]


_CHUNK_BYTES = 1024
Coder = RangeEncoder | RangeDecoder


def _number(coder: Coder, lengths: int, prefixes: int, value: int) -> int:
    wanted = value.bit_length()
    length = 0
    while length < NUMBER_BITS and coder.bit(lengths + length, int(wanted > length)):
        length += 1
    if length < 2:
        return length
    rest = length - 1
    modelled = min(rest, PREFIX_BITS)
    node = 1
    for place in range(rest - 1, rest - 1 - modelled, -1):
        node = node << 1 | coder.bit(prefixes + (length << PREFIX_BITS) + node, value >> place & 1)
    left = rest - modelled
    return node << left | coder.even(left, value & (1 << left) - 1)


def _byte(coder: Coder, first: int, value: int) -> int:
    node = 1
    for place in range(7, -1, -1):
        node = node << 1 | coder.bit(first + node, value >> place & 1)
    return node & 0xFF

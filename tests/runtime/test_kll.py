"""KLL sketches against exact ranks and against Apache DataSketches, bytes and all."""

from __future__ import annotations

import math

import datasketches
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.kll import (
    KllBank,
    KllSketch,
    capacity,
    merge_sketches,
    rank_error,
    sketch_of,
)
from edgekiln.runtime.kll_bytes import decode_sketch, encode_sketch

Theirs = datasketches.kll_floats_sketch
SHARES = [0.0, 0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0]
numbers = st.lists(st.floats(-1e9, 1e9, width=32), max_size=120)


def _theirs(values: np.ndarray, k: int) -> Theirs:
    sketch = Theirs(k)
    for value in values:
        sketch.update(float(value))
    return sketch


def _ours(values: object, k: int, seed: int = 0) -> KllSketch:
    return sketch_of(values, k, np.random.default_rng(seed))  # type: ignore[arg-type]


def _worst(sketch: KllSketch, values: np.ndarray) -> float:
    """The largest error of a rank."""
    ordered = np.sort(values)
    exact = np.searchsorted(ordered, ordered, side="right") / len(ordered)
    return float(np.abs(np.array(sketch.ranks(ordered.tolist())) - exact).max())


@pytest.mark.parametrize("k", [8, 64, 200])
@pytest.mark.parametrize("n", [0, 1, 2, 7, 8])
def test_bytes_are_those_of_datasketches_while_every_value_is_kept(k: int, n: int) -> None:
    values = np.random.default_rng(n).normal(size=n).astype(np.float32)
    assert encode_sketch(_ours(values, k)) == _theirs(values, k).serialize()


@settings(max_examples=60, deadline=None)
@given(numbers, st.sampled_from([8, 20]), st.integers(0, 9))
def test_either_reads_the_others_bytes_and_answers_the_same(
    values: list[float], k: int, seed: int
) -> None:
    theirs = _theirs(np.array(values, np.float32), k).serialize()
    assert encode_sketch(decode_sketch(theirs)) == theirs
    ours = _ours(values, k, seed)
    read = Theirs.deserialize(encode_sketch(ours))
    assert read.serialize() == encode_sketch(ours)
    assert (read.n, read.num_retained, read.k) == (len(values), ours.retained, k)
    if values:
        assert list(ours.quantiles(SHARES)) == read.get_quantiles(SHARES, True)
        asked = sorted(values)[::7]
        assert list(ours.ranks(asked)) == [read.get_rank(value, True) for value in asked]
        below = [read.get_rank(value, False) for value in asked]
        assert list(ours.ranks(asked, inclusive=False)) == below
        assert (ours.minimum, ours.maximum) == (read.get_min_value(), read.get_max_value())


def test_sketches_merge_across_the_two_libraries() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 4000)).astype(np.float32)
    both = np.concatenate((first, second))
    ours = merge_sketches([_ours(first, 64), decode_sketch(_theirs(second, 64).serialize())], rng)
    theirs = _theirs(second, 64)
    theirs.merge(Theirs.deserialize(encode_sketch(_ours(first, 64))))
    for sketch in (ours, decode_sketch(theirs.serialize())):
        assert sketch.n == 8000
        assert _worst(sketch, both) <= rank_error(64) * 1.5


@pytest.mark.parametrize("k", [8, 64, 128, 200, 4096])
def test_rank_error_is_the_published_one(k: int) -> None:
    assert rank_error(k) == pytest.approx(Theirs.get_normalized_rank_error(k, False), rel=1e-12)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 20_000),
    st.sampled_from([8, 64, 200]),
    st.integers(0, 2**32),
    st.sampled_from(["normal", "ascending", "few values", "heavy tail"]),
)
def test_ranks_are_within_the_guarantee_when_batches_and_merges_are_any(
    n: int, k: int, seed: int, shape: str
) -> None:
    rng = np.random.default_rng(seed)
    values = {
        "normal": rng.normal(size=n),
        "ascending": np.arange(n),
        "few values": rng.integers(0, 5, n),
        "heavy tail": rng.standard_cauchy(n),
    }[shape].astype(np.float32)
    cuts = np.sort(rng.integers(0, n + 1, 3))
    merged = merge_sketches([sketch_of(part, k, rng) for part in np.split(values, cuts)], rng)
    assert merged.n == n
    assert merged.retained <= capacity(k, len(merged.levels))
    # The published error holds in 99 of 100: twice that is far out in the tail of the coins.
    assert _worst(merged, values) <= 2 * rank_error(k)


def test_bank_is_its_rows_alone_up_to_the_coins() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(5000, 3)).astype(np.float32)
    bank = KllBank(3, 64, rng)
    for part in np.split(values, [1, 2, 80, 81, 3000]):
        bank.add(part)
    for row, sketch in enumerate(bank.sketches()):
        assert sketch.n == 5000
        assert sketch.minimum == values[:, row].min()
        assert sketch.maximum == values[:, row].max()
        assert _worst(sketch, values[:, row]) <= rank_error(64)
        assert Theirs.deserialize(encode_sketch(sketch)).n == 5000


def test_bank_of_no_rows_counts_nothing_and_does_not_fail() -> None:
    bank = KllBank(0, 64, np.random.default_rng(0))
    bank.add(np.empty((100, 0), np.float32))
    assert bank.sketches() == ()


def test_same_coins_give_the_same_bytes() -> None:
    values = np.random.default_rng(5).normal(size=3000)
    assert encode_sketch(_ours(values, 64, 1)) == encode_sketch(_ours(values, 64, 1))
    assert encode_sketch(_ours(values, 64, 1)) != encode_sketch(_ours(values, 64, 2))


def test_samples_with_a_value_that_is_no_number_are_left_out_and_counted() -> None:
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    values[3, 1] = np.nan
    bank = KllBank(2, 64, np.random.default_rng(0))
    bank.add(values)
    first, second = bank.sketches()
    assert (first.n, second.n, bank.skipped) == (9, 9, 1)
    bank.clear()
    assert (bank.skipped, bank.sketches()[0].n) == (0, 0)


def test_infinite_values_have_their_place() -> None:
    values = np.array([math.inf, -math.inf, *range(500)], np.float32)
    sketch = decode_sketch(encode_sketch(_ours(values, 20)))
    assert (sketch.minimum, sketch.maximum) == (-math.inf, math.inf)
    assert sketch.ranks([math.inf]) == (1.0,)


def test_empty_sketch_knows_nothing_and_merges_to_the_other() -> None:
    empty, full = _ours([], 64), _ours([1.0, 2.0], 64)
    assert all(math.isnan(told) for told in (*empty.quantiles([0.5]), *empty.ranks([0.5])))
    assert empty.histogram([1.0, 2.0]) == (0, 0, 0)
    rng = np.random.default_rng(0)
    assert encode_sketch(merge_sketches([empty, full], rng)) == encode_sketch(full)
    assert merge_sketches([empty, empty], rng).n == 0


def test_histogram_counts_between_edges_and_an_edge_belongs_above_it() -> None:
    sketch = _ours([0.5, 1.0, 1.5, 2.0, 9.0], 64)
    assert sketch.histogram([1.0, 2.0, 5.0]) == (1, 2, 1, 1)


def test_merge_keeps_the_worst_k() -> None:
    rng = np.random.default_rng(0)
    merged = merge_sketches([_ours(range(1000), 200), _ours(range(1000), 20)], rng)
    assert (merged.k, merged.min_k, merged.rank_error) == (20, 20, rank_error(20))
    again = merge_sketches([merged, _ours(range(1000), 200)], rng)
    assert (again.min_k, again.n) == (20, 3000)
    assert _ours(range(10), 200).rank_error == 0.0


def test_thousand_sketches_merge_at_once_as_one_by_one() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=(1000, 50)).astype(np.float32)
    merged = merge_sketches([sketch_of(row, 64, rng) for row in values], rng)
    assert merged.n == values.size
    assert merged.retained <= capacity(64, len(merged.levels))
    assert _worst(merged, values.ravel()) <= rank_error(64)


GOOD = encode_sketch(_ours(np.arange(300.0), 8))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:7],
        GOOD[:15],
        GOOD[:-1],
        GOOD + b"x",
        b"\x05\x02" + GOOD[2:],  # another version
        GOOD[:2] + b"\x07" + GOOD[3:],  # another family
        GOOD[:4] + b"\x07\x00" + GOOD[6:],  # k of 7
        GOOD[:8] + b"\xff" * 8 + GOOD[16:],  # n that its items do not have
        GOOD[:16] + b"\xff\xff" + GOOD[18:],  # a min_k above k
        GOOD[:18] + b"\xff" + GOOD[19:],  # 255 levels
        GOOD[:18] + b"\x00" + GOOD[19:],
        GOOD[:20] + b"\xff\xff\xff\x7f" + GOOD[24:],  # levels that overlap
        GOOD[:-4] + b"\x00\x00\xc0\x7f",  # nan
        GOOD[:-4] + b"\x00\x00\x80\xff",  # below the minimum
        GOOD[:-4] + GOOD[-8:-4][::-1],
    ],
)
def test_bytes_that_are_no_sketch_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="a sketch cannot be read"):
        decode_sketch(data)


def test_sketch_of_more_values_than_anybody_has_seen_is_refused() -> None:
    top = np.ones(1, np.float32)
    nothing = np.empty(0, np.float32)
    for height, is_read in ((52, True), (53, False), (59, False)):
        levels = (*[nothing] * height, top)
        data = encode_sketch(KllSketch(8, 8, 1 << height, 1.0, 1.0, levels))
        if is_read:
            assert decode_sketch(data).quantiles([0.5, 1.0]) == (1.0, 1.0)
        else:
            with pytest.raises(ProtocolError, match="cannot be read"):
                decode_sketch(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_flipped_bytes_are_refused_or_read_as_a_sketch(data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    try:
        sketch = decode_sketch(bytes(damaged))
    except ProtocolError:
        return
    assert sum(len(level) << height for height, level in enumerate(sketch.levels)) == sketch.n
    assert len(sketch.quantiles(SHARES)) == len(SHARES)
    assert sum(sketch.histogram([0.0, 1.0, 100.0])) == sketch.n
    assert merge_sketches([sketch, sketch], np.random.default_rng(0)).n == 2 * sketch.n

"""Fronts and promotion against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.search.pareto import Points, front, promote, ranks, spread


@st.composite
def clouds(draw: st.DrawFn) -> Points:
    rows, columns = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    flat = draw(st.lists(st.integers(0, 4), min_size=rows * columns, max_size=rows * columns))
    return np.array(flat, dtype=np.float64).reshape(rows, columns)


def beats(a: Points, b: Points) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(
        x < y for x, y in zip(a, b, strict=True)
    )


@given(clouds())
def test_front_equals_brute_force(points: Points) -> None:
    expected = tuple(
        i for i, point in enumerate(points) if not any(beats(other, point) for other in points)
    )
    assert front(points) == expected


@given(clouds())
def test_ranks_equal_repeated_peeling(points: Points) -> None:
    left, rank = list(range(len(points))), 0
    result = ranks(points)
    while left:
        top = [i for i in left if not any(beats(points[j], points[i]) for j in left)]
        assert all(result[i] == rank for i in top)
        left = [i for i in left if i not in top]
        rank += 1


@given(clouds(), st.integers(0, 16))
def test_promote_takes_whole_ranks_before_the_next(points: Points, count: int) -> None:
    kept = promote(points, points, count)
    assert len(kept) == len(set(kept)) == min(count, len(points))
    order = ranks(points)
    left = [order[i] for i in range(len(points)) if i not in kept]
    assert max((order[i] for i in kept), default=-1) <= min(left, default=99)


def test_spread_picks_both_ends_first_when_nothing_is_taken() -> None:
    line = np.array([[4.0], [0.0], [1.0], [10.0], [5.0]])
    assert spread(line, 3) == (1, 3, 4)


def test_spread_keeps_away_from_taken_rows() -> None:
    line = np.array([[0.0], [1.0], [9.0], [10.0]])
    assert spread(line, 1, taken=(3,)) == (0,)


@given(clouds(), st.integers(0, 16))
def test_spread_never_repeats_a_row(points: Points, count: int) -> None:
    picks = spread(points, count)
    assert len(picks) == len(set(picks)) == min(count, len(points))

"""Optimal design: the greedy choice is the best one by brute force, and beats chance."""

from __future__ import annotations

import itertools

import numpy as np

from edgekiln.targets.design import choose


def information(rows: np.ndarray, chosen: list[int]) -> float:
    part = rows[chosen]
    return float(np.linalg.slogdet(part.T @ part + 1e-3 * np.eye(rows.shape[1]))[1])


def unit_rows(seed: int, count: int, columns: int) -> np.ndarray:
    """Rows of length 1 whose columns have one size, so that scaling leaves them as they are."""
    rows = np.random.default_rng(seed).choice([-1.0, 1.0], (count, columns))
    return rows / np.sqrt(columns)


def test_choice_is_near_the_best_of_all_when_all_can_be_tried() -> None:
    for seed in range(5):
        rows = unit_rows(seed, 9, 3)
        chosen = choose([row[None] for row in rows], 4)
        best = max(information(rows, list(c)) for c in itertools.combinations(range(9), 4))
        worst = min(information(rows, list(c)) for c in itertools.combinations(range(9), 4))
        assert information(rows, chosen) >= best - 0.1 * (best - worst)


def test_choice_beats_random_ones_when_candidates_are_many() -> None:
    rng = np.random.default_rng(1)
    rows = np.abs(rng.standard_cauchy((200, 6)))
    scaled = rows / np.sqrt((rows**2).mean(axis=0))
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    designed = information(scaled, choose([row[None] for row in rows], 12))
    random = [information(scaled, list(rng.permutation(200)[:12])) for _ in range(50)]
    assert designed > max(random)


def test_choice_covers_every_column_before_it_repeats_one() -> None:
    rows = [np.eye(4)[[index % 4]] for index in range(12)]
    assert sorted(index % 4 for index in choose(rows, 4)) == [0, 1, 2, 3]


def test_choice_prefers_the_cheaper_of_two_equal_ones() -> None:
    rows = [np.eye(2)[[0]], np.eye(2)[[0]], np.eye(2)[[1]]]
    assert set(choose(rows, 2, cost=(5.0, 1.0, 1.0))) == {1, 2}


def test_choice_takes_everything_when_more_is_asked_for() -> None:
    assert sorted(choose([np.eye(2)[[0]], np.eye(2)[[1]]], 9)) == [0, 1]

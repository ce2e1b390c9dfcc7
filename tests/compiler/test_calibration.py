"""Calibration checks: each lack is one sentence with its number, and good data has none."""

from __future__ import annotations

import numpy as np
import pytest

from edgekiln.compiler.calibration import check_calibration
from edgekiln.compiler.graph import Array
from edgekiln.runtime.contract import Contract, TensorSpec

CONTRACT = Contract(TensorSpec("x", (3,), minimum=-10.0, maximum=10.0), ("a", "b", "c"))


def good() -> tuple[Array, Array]:
    return np.random.default_rng(0).normal(size=(150, 3)).astype(np.float32), np.arange(150) % 3


def test_nothing_is_said_when_data_is_good() -> None:
    assert check_calibration(*good(), CONTRACT) == ()


def test_count_is_said_when_samples_are_few() -> None:
    x, y = good()
    (note,) = check_calibration(x[:60], y[:60], CONTRACT)
    assert "60 samples set the ranges; 100 or more" in note


def test_class_is_named_when_it_is_missing_or_rare() -> None:
    x, _ = good()
    y = np.zeros(150, np.int64)
    y[:4] = 1
    rare, missing = check_calibration(x, y, CONTRACT)
    assert "4 samples of class 'b'" in rare
    assert "no sample of class 'c'" in missing


def test_elements_are_counted_when_they_are_constant() -> None:
    x, y = good()
    x[:, 1] = 2.0
    (note,) = check_calibration(x, y, CONTRACT)
    assert "1 of 3 input elements are the same in all 150 samples" in note


@pytest.mark.parametrize("value", [10.5, -11.0])
def test_range_is_said_when_samples_leave_the_contract(value: float) -> None:
    x, y = good()
    x[3, 0] = x[3, 1] = x[7, 2] = value
    (note,) = check_calibration(x, y, CONTRACT)
    assert "2 of 150 samples leave the contract's range [-10, 10] of 'x'" in note
    assert f"{value:g}" in note


def test_no_range_is_broken_when_the_contract_has_none() -> None:
    x, y = good()
    contract = Contract(TensorSpec("x", (3,)), ("a", "b", "c"))
    assert check_calibration(x * 1e6, y, contract) == ()

"""One sample's fast way to codes: the same bytes as the plain definition, the same refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.data import load_dataset
from edgekiln.compiler.input_schema import InputSchema
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input
from edgekiln.runtime.contract import Affine, Contract, FeatureAffine, TensorSpec
from edgekiln.runtime.entry import Entry
from edgekiln.runtime.errors import ContractError
from edgekiln.runtime.quant import End

SHAPE = (3, 2)
scalars = st.floats(-1e4, 1e4, width=32)
factors = st.floats(2**-13, 1024.0, width=32) | st.just(-0.5) | st.just(0.0)
steps = st.builds(Affine, scalars, factors) | st.builds(
    FeatureAffine, st.tuples(scalars, scalars), st.tuples(factors, factors)
)
ends = st.one_of(
    st.builds(End, st.just(6), st.just(np.int8), st.floats(1e-3, 50.0), st.integers(-128, 127)),
    st.builds(End, st.just(6), st.just(np.int16), st.floats(1e-6, 50.0), st.just(0)),
    st.just(End(6, np.float32, 1.0, 0)),
)
samples = hnp.arrays(np.float32, SHAPE, elements=st.floats(width=32)) | hnp.arrays(
    np.float32, SHAPE, elements=st.floats(-300, 300, width=32)
)
bounds = st.sampled_from([(None, None), (-300.0, 300.0), (0.0, None)])


def contract_with(
    preprocessing: tuple[Affine | FeatureAffine, ...], limits: tuple[float | None, float | None]
) -> Contract:
    return Contract(TensorSpec("x", SHAPE, "float32", "", *limits), ("a", "b"), preprocessing)


@given(st.lists(steps, max_size=2).map(tuple), bounds, ends, samples)
def test_put_gives_the_bytes_or_the_error_of_the_plain_definition(
    preprocessing: tuple[Affine | FeatureAffine, ...],
    limits: tuple[float | None, float | None],
    end: End,
    raw: np.ndarray,
) -> None:
    contract, target = contract_with(preprocessing, limits), np.zeros(6, end.dtype)
    entry = Entry(contract, end, target)
    found, wanted = (
        outcome(lambda: put(entry, raw, target)),
        outcome(lambda: end.accept(contract.preprocess(contract.check(raw[None]))).ravel()),
    )
    assert found[1:] == wanted[1:]
    np.testing.assert_array_equal(found[0], wanted[0])


def put(entry: Entry, raw: np.ndarray, target: np.ndarray) -> np.ndarray:
    entry.put(raw)
    return target


def outcome(call: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str, str]:
    """What a call returns, or what it refuses and by which rule."""
    try:
        with np.errstate(over="ignore"):
            return call(), "", ""
    except ContractError as error:
        return None, str(error), error.rule


@pytest.mark.parametrize("zero_point", [-128, -127, -1, 0, 1, 83, 127])
def test_halves_round_to_even_whatever_the_zero_point(zero_point: int) -> None:
    contract = Contract(TensorSpec("x", (600,), minimum=-200, maximum=200), ("a", "b"))
    end, target = End(600, np.int8, 1.0, zero_point), np.zeros(600, np.int8)
    raw = (np.arange(600) / 2 - 150).astype(np.float32)
    Entry(contract, end, target).put(raw)
    exact = [max(-128, min(127, round(float(value)) + zero_point)) for value in raw]
    assert target.tolist() == exact


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64, np.float16])
def test_put_takes_other_numbers_and_views_as_they_count(dtype: type[np.generic]) -> None:
    contract = contract_with((Affine(2.0, 0.5),), (0.0, 255.0))
    end, target = End(6, np.int8, 0.5, -3), np.zeros(6, np.int8)
    raw = np.arange(24).reshape(6, 4).astype(dtype)[::2, ::2]
    Entry(contract, end, target).put(raw)
    wanted = end.accept(contract.preprocess(raw[None].astype(np.float32)))
    np.testing.assert_array_equal(target, wanted.ravel())


@pytest.mark.parametrize(
    ("place", "value", "says", "rule"),
    [
        ((2, 1), np.nan, r"input 'x'\[2,1\] is not finite", "finite"),
        ((0, 1), -np.inf, r"input 'x'\[0,1\] is not finite", "finite"),
        ((1, 0), 256.0, r"input 'x'\[1,0\] is 256, the contract's maximum is 255", "range"),
        ((1, 1), -0.5, r"input 'x'\[1,1\] is -0\.5, the contract's minimum is 0", "range"),
    ],
)
def test_refusal_names_the_input_the_element_and_the_rule(
    place: tuple[int, int], value: float, says: str, rule: str
) -> None:
    contract = contract_with((), (0.0, 255.0))
    raw = np.ones(SHAPE, np.float32)
    raw[place] = value
    with pytest.raises(ContractError, match=says) as caught:
        Entry(contract, End(6, np.int8, 1.0, 0), np.zeros(6, np.int8)).put(raw)
    assert caught.value.rule == rule
    batch = np.stack((np.ones(SHAPE, np.float32), raw))
    with pytest.raises(ContractError, match=f"{says[:13]}.* of sample 1 "):
        contract.check(batch)


@pytest.mark.parametrize(
    ("shape", "schema"),
    [
        ((8, 8), InputSchema(preprocessing="unit")),
        ((8, 8), InputSchema(preprocessing="affine", offset=(3.0,), factor=(0.37,))),
        ((5,), InputSchema(preprocessing="standardize")),
        ((40, 3), InputSchema(kind="series", preprocessing="standardize")),
    ],
)
def test_device_prepares_a_sample_as_the_compiler_did_for_training(
    tmp_path: Path, shape: tuple[int, ...], schema: InputSchema
) -> None:
    """The compiler's own path: dataset, contract, calibration, integer input."""
    rng = np.random.default_rng(0)
    x = (rng.gamma(2.0, 20.0, (300, *shape)) - 30).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(300) % 3)
    dataset = load_dataset(str(tmp_path / "data.npz"), seed=0, schema=schema)
    contract = dataset.contract
    assert contract.preprocessing
    prepared = contract.preprocess(dataset.x[:200])
    net = GraphBuilder("net", (1, *contract.input.shape))
    weights = rng.normal(size=(len(contract.classes), contract.input.elements))
    flat = net.reshape(net.input, (1, contract.input.elements))
    zeros = np.zeros(len(weights), np.float32)
    graph = net.finish(net.fully_connected(flat, weights.astype(np.float32), zeros))
    # Half of the samples set the ranges: others leave them, and saturate.
    int8 = quantize(graph, prepared[:100])
    wanted = quantize_input(int8, prepared)
    quant = params(int8, int8.inputs[0])
    end = End(contract.input.elements, np.int8, quant.scale[0], quant.zero_point[0])
    target = np.zeros(end.elements, np.int8)
    entry = Entry(contract, end, target)
    for raw, codes in zip(dataset.x[:200], wanted, strict=True):
        entry.put(raw)
        np.testing.assert_array_equal(target, codes.ravel())

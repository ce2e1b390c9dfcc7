"""Waves as an operator writes them."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.cli.waves import parse_waves
from edgekiln.fleet.model import Wave


def test_shares_and_numbers_become_waves_in_their_order() -> None:
    assert parse_waves(("2", "0.1%", "12.5%", "100%")) == (
        Wave(devices=2),
        Wave(permille=1),
        Wave(permille=125),
        Wave(permille=1000),
    )


@pytest.mark.parametrize(
    "text",
    ["", "%", "0", "-1", "0%", "0.01%", "100.1%", "nan%", "inf%", "1.5", "ten", "1e9%", "5 %%"],
)
def test_wave_is_refused_by_its_text_when_it_is_neither(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is neither a share such as 10% nor a number"):
        parse_waves((text,))


@given(st.integers(1, 1000))
def test_every_permille_can_be_written(permille: int) -> None:
    assert parse_waves((f"{permille / 10}%",)) == (Wave(permille=permille),)

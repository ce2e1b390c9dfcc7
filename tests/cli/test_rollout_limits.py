"""What devices ask of a release, as an operator writes it."""

from __future__ import annotations

import click
import pytest

from edgekiln.cli.rollout_limits import parse_shadow, parse_window
from edgekiln.runtime.protocol import SelfTestLimits


def test_shadow_is_a_share_of_answers_and_none_by_default() -> None:
    assert parse_shadow("") == SelfTestLimits()
    assert parse_shadow("").shadow is None
    shadow = parse_shadow("2.5%").shadow
    assert shadow is not None
    assert shadow.max_disagreement == 0.025


@pytest.mark.parametrize("text", ["5", "0%", "100%", "-1%", "nan%", "inf%", "much"])
def test_shadow_is_refused_by_its_text_when_it_is_no_share(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no share of answers such as 5%"):
        parse_shadow(text)


def test_window_is_seconds_of_the_day_and_may_pass_midnight() -> None:
    assert parse_window("") is None
    assert parse_window("01:30-02:00") == (5400.0, 7200.0)
    assert parse_window("22:00-04:00") == (79200.0, 14400.0)


@pytest.mark.parametrize("text", ["22-4", "24:00-01:00", "22:60-23:00", "04:00-04:00", "night"])
def test_window_is_refused_by_its_text_when_it_is_none(text: str) -> None:
    with pytest.raises(click.BadParameter, match="window"):
        parse_window(text)

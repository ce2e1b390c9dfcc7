"""What devices ask of a release, as written: `--shadow 5%`, `--window 22:00-04:00`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekiln.runtime.protocol import SelfTestLimits

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def parse_shadow(text: str) -> SelfTestLimits:
    """`"5%"` to limits with a shadow phase in which so many answers may differ; `""` to none.

    Raises:
        click.BadParameter: the text is no share between 0 and 100 %.
    """
    from edgekiln.runtime.protocol import SelfTestLimits, ShadowLimits

    if not text:
        return SelfTestLimits()
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not (text.endswith("%") and 0 < share < 1):
        raise click.BadParameter(f"shadow '{text}' is no share of answers such as 5%")
    return SelfTestLimits(shadow=ShadowLimits(max_disagreement=share))


def parse_window(text: str) -> tuple[float, float] | None:
    """`"22:00-04:00"` (UTC) to seconds of the day; `""` to None: any time.

    Raises:
        click.BadParameter: the text is no such window, or one without length.
    """
    if not text:
        return None
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"window '{text}' is not written as 22:00-04:00")
    hours, minutes, end_hours, end_minutes = map(int, found.groups())
    window = (hours * 3600.0 + minutes * 60, end_hours * 3600.0 + end_minutes * 60)
    if window[0] == window[1]:
        raise click.BadParameter(f"window '{text}' has no length; leave it out for any time")
    return window

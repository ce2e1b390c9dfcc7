"""Waves as an operator writes them: `10%`, or `2` for two devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekiln.fleet.model import Wave


def parse_waves(texts: Sequence[str]) -> tuple[Wave, ...]:
    """`("2", "50%", "100%")` to waves.

    Raises:
        click.BadParameter: a text is neither a share of 0.1 % to 100 % nor a positive number.
    """
    from edgekiln.fleet.model import Wave

    waves = []
    for text in texts:
        try:
            if text.endswith("%"):
                permille = round(float(text[:-1]) * 10)
                if not 1 <= permille <= 1000:
                    raise ValueError
                waves.append(Wave(permille=permille))
            else:
                if (devices := int(text)) < 1:
                    raise ValueError
                waves.append(Wave(devices=devices))
        except (ValueError, OverflowError) as error:  # `inf%` is a float
            raise click.BadParameter(
                f"wave '{text}' is neither a share such as 10% nor a number of devices"
            ) from error
    return tuple(waves)

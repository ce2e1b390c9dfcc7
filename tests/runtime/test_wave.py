"""Self-selection: uniform, stable under growth, disjoint from the holdback."""

from __future__ import annotations

import hashlib
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.protocol import RolloutDocument
from edgekiln.runtime.wave import holds_back, joins, position

DOCUMENT = RolloutDocument(
    rollout_id="r1", version=1, cohort="all", release="b" * 64, target_path="bundles/b.ekb",
    sha256="c" * 64, salt="s", permille=100,
)  # fmt: skip


def test_position_is_the_published_formula() -> None:
    digest = hashlib.sha256(b"salt\x00device-7").hexdigest()
    assert position("salt", "device-7") == int(digest[:16], 16) % 1000


def test_position_is_uniform_over_devices() -> None:
    from scipy import stats

    counts = [0] * 1000
    for number in range(100_000):
        counts[position("salt", f"device-{number}")] += 1
    assert stats.chisquare(counts).pvalue > 1e-4


def test_positions_of_two_salts_are_independent() -> None:
    from scipy import stats

    table = [[0] * 10 for _ in range(10)]
    for number in range(20_000):
        device = f"device-{number}"
        table[position("a", device) // 100][position("b", device) // 100] += 1
    assert stats.chi2_contingency(table).pvalue > 1e-4


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 1000), st.integers(0, 1000))
def test_joining_stays_when_the_wave_grows(salt: str, device: str, first: int, more: int) -> None:
    small = msgspec.structs.replace(DOCUMENT, salt=salt, permille=min(first, more))
    large = msgspec.structs.replace(DOCUMENT, salt=salt, permille=max(first, more))
    assert not joins(small, device) or joins(large, device)


@given(st.text(max_size=20), st.integers(0, 1000), st.integers(0, 1000))
def test_holdback_never_joins(device: str, permille: int, holdback: int) -> None:
    document = msgspec.structs.replace(DOCUMENT, permille=permille, holdback_permille=holdback)
    assert not (joins(document, device) and holds_back(document, device))


def test_everybody_joins_or_is_held_back_when_the_last_wave_is_reached() -> None:
    document = msgspec.structs.replace(DOCUMENT, permille=1000, holdback_permille=100)
    rng = random.Random(3)
    devices = [f"d{rng.random()}" for _ in range(2000)]
    held = [device for device in devices if holds_back(document, device)]
    assert all(joins(document, d) != holds_back(document, d) for d in devices)
    assert 140 < len(held) < 260

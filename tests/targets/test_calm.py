"""Whether the machine is as fast as it has been, with a clock that tells what it is told."""

from __future__ import annotations

from collections.abc import Iterable

from edgekiln.targets.calm import Calm


def calm_on(times_ns: Iterable[int]) -> Calm:
    """One whose five runs at each look take as long as `times_ns` says, one after the other."""
    now, ticks = 0, []
    for taken in times_ns:
        for _ in range(5):
            ticks += [now, now + taken]
            now += taken
    clock = iter(ticks)
    return Calm(work=lambda: None, clock=lambda: next(clock))


def test_machine_is_calm_when_it_is_as_fast_as_ever() -> None:
    calm = calm_on([1000, 1030, 990, 1020])
    assert [calm.now() for _ in range(4)] == [True, True, True, True]


def test_machine_is_disturbed_when_it_was_faster_before() -> None:
    calm = calm_on([1000, 1400, 1000])
    assert [calm.now() for _ in range(3)] == [True, False, True]


def test_real_work_takes_time() -> None:
    assert Calm().now()

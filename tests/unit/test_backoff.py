import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from sandpiper.core.backoff import Backoff


class Middle(random.Random):
    """No jitter: always the middle of the range."""

    @override
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def waits(backoff: Backoff, count: int, rng: random.Random | None = None) -> list[float]:
    return [backoff.next(rng or Middle()) for _ in range(count)]


def test_each_wait_is_longer_up_to_the_most():
    assert waits(Backoff(0.25, 5.0), 7) == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_after_something_worked_the_waits_begin_anew():
    backoff = Backoff(1.0, 60.0, factor=3.0)
    assert waits(backoff, 3) == [1.0, 3.0, 9.0]
    backoff.reset()
    assert waits(backoff, 2) == [1.0, 3.0]


@given(st.floats(0.01, 10), st.floats(10, 1000), st.floats(1.1, 10), st.integers())
def test_every_wait_keeps_its_bounds_however_often_it_fails(first, most, factor, seed):
    backoff = Backoff(first, most, factor)
    for wait in waits(backoff, 500, random.Random(seed)):
        assert first * 0.5 <= wait <= most * 1.5


def test_peers_do_not_march_in_step():
    schedules = [tuple(waits(Backoff(0.25, 5.0), 8, random.Random(seed))) for seed in range(50)]
    assert len(set(schedules)) == 50
    assert any(later < earlier for schedule in schedules for earlier, later in pairwise(schedule[5:]))

"""Token buckets: so much at once, so much on average, never more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandpiper.core.rate import Bucket


def test_a_burst_at_once_and_then_the_rate() -> None:
    bucket = Bucket(2.0, 5.0, now=100.0)
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]
    assert [bucket.take(100.4), bucket.take(100.5), bucket.take(100.5)] == [False, True, False]
    assert [bucket.take(1000.0) for _ in range(6)] == [True] * 5 + [False], "saved up more than a burst"


def test_what_does_not_fit_uses_nothing_up() -> None:
    bucket = Bucket(1.0, 5.0, now=0.0)
    assert not bucket.take(0.0, 6.0)
    assert bucket.take(0.0, 5.0)


@given(
    st.floats(0.5, 100),
    st.floats(1, 100),
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 5)), min_size=1, max_size=60),
)
def test_never_more_than_burst_and_rate_allow(rate: float, burst: float, steps: list[tuple[float, float]]) -> None:
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0.0
    for wait, amount in steps:
        now += wait
        taken += amount * bucket.take(now, amount)
        assert taken <= burst + rate * now + 1e-6

import pytest

from sandpiper.core.events import Now
from sandpiper.core.keepalive import DEAD_SECONDS, DOUBT_SECONDS, IDLE_SECONDS, Due, Keepalive
from sandpiper.wire.ids import PeerKey

A, B = PeerKey(b"a" * 32), PeerKey(b"b" * 32)
NOTHING = Due((), ())


def at(seconds: float) -> Now:
    return Now(1000.0 + seconds, 0)


def test_without_links_nothing_is_due():
    life = Keepalive()
    assert life.deadline() is None
    assert life.due(at(0)) == NOTHING
    assert life.doubt_all(at(0)) == NOTHING
    assert life.rtt(A) is None


def test_a_round_trip_is_measured_by_the_answer_to_the_last_ping_only():
    life = Keepalive()
    number = life.up(A, at(0))
    assert life.rtt(A) is None
    life.answered(A, number + 1, at(0.1))
    life.answered(B, number, at(0.1))
    assert life.rtt(A) is None
    life.answered(A, number, at(0.25))
    assert life.rtt(A) == 0.25
    ((_, again),) = life.due(at(IDLE_SECONDS)).ping
    life.answered(A, number, at(IDLE_SECONDS + 5))
    assert life.rtt(A) == 0.25, "an answer to an older ping says nothing"
    life.answered(A, again, at(IDLE_SECONDS + 1))
    assert life.rtt(A) == 1.0


def test_an_idle_link_is_pinged_again_and_again_until_it_is_dead():
    life = Keepalive()
    life.up(A, at(0))
    moments = []
    now = 0.0
    while not (due := life.due(at(now))).dead:
        moments += [now for peer, _ in due.ping if peer == A]
        deadline = life.deadline()
        assert deadline is not None
        assert deadline > at(now).mono, "asking at the deadline must make it later"
        now = deadline - at(0).mono
    assert moments == [IDLE_SECONDS, 2 * IDLE_SECONDS]
    assert due == Due((), (A,))
    assert now == DEAD_SECONDS


def test_whoever_talks_is_not_pinged():
    life = Keepalive()
    life.up(A, at(0))
    for second in range(1, 200):
        life.heard(A, at(second))
        assert life.due(at(second)) == NOTHING
    assert life.deadline() == at(199 + IDLE_SECONDS).mono


def test_a_link_that_is_down_is_forgotten():
    life = Keepalive()
    life.up(A, at(0))
    life.down(A)
    life.down(A)
    life.heard(A, at(1))
    life.answered(A, 1, at(1))
    assert life.deadline() is None
    assert life.due(at(1000)) == NOTHING


def test_after_sleep_every_link_must_answer_soon():
    life = Keepalive()
    life.up(A, at(0))
    life.up(B, at(0))
    doubted = life.doubt_all(at(1))
    assert [peer for peer, _ in doubted.ping] == [A, B]
    assert doubted.dead == ()
    life.heard(B, at(1.5))
    assert life.deadline() == at(1 + DOUBT_SECONDS).mono
    assert life.due(at(DOUBT_SECONDS + 0.9)) == NOTHING
    assert life.due(at(DOUBT_SECONDS + 1)) == Due((), (A,))


@pytest.mark.parametrize("silence", [DEAD_SECONDS, DEAD_SECONDS + 3600])
def test_a_link_silent_for_too_long_is_dead_and_not_pinged_too(silence):
    life = Keepalive()
    life.up(A, at(0))
    life.up(B, at(silence - 1))
    assert life.due(at(silence)) == Due((), (A,))


def test_a_new_link_to_the_same_peer_starts_with_a_clean_sheet():
    life = Keepalive()
    number = life.up(A, at(0))
    life.answered(A, number, at(1))
    life.doubt_all(at(2))
    life.up(A, at(3))
    assert life.rtt(A) is None
    assert life.due(at(3 + DOUBT_SECONDS)) == NOTHING

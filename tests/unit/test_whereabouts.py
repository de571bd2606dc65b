"""Noticing that the machine has slept or is elsewhere; that addresses change is seen in tests/net."""

from __future__ import annotations

from sandpiper.core.events import Now
from sandpiper.node.whereabouts import LOOK_SECONDS, SLEEP_JUMP_MS, Whereabouts


def test_a_machine_that_stays_awake_and_where_it_is_has_nothing_to_tell() -> None:
    here = Whereabouts((), Now(100.0, 1_000_000))
    for step in range(1, 10):
        assert here.look(Now(100.0 + step, 1_000_000 + step * 1000)) is None
    assert here.deadline() <= 109.0 + LOOK_SECONDS


def test_sleep_is_noticed_once_by_the_clock_that_went_on() -> None:
    here = Whereabouts((), Now(100.0, 1_000_000))
    woken = 1_000_500 + SLEEP_JUMP_MS + 1
    moved = here.look(Now(100.5, woken))
    assert moved is not None
    assert any(one.host == "127.0.0.1" for one in moved.own)
    assert not moved.gone
    assert here.look(Now(100.6, woken + 100)) is None


def test_a_clock_that_is_set_by_a_little_or_back_is_no_sleep() -> None:
    here = Whereabouts((), Now(100.0, 1_000_000))
    assert here.look(Now(100.5, 1_000_500 + SLEEP_JUMP_MS // 2)) is None
    assert here.look(Now(101.0, 900_000)) is None


def test_a_link_to_this_machine_is_no_farther_than_its_network_whatever_interfaces_are_asked_for() -> None:
    here = Whereabouts(("no such interface",), Now(100.0, 1_000_000))
    assert here.path_to("127.0.0.1") == here.path_to("::1") == "lan"
    assert here.path_to("240.1.2.3") == "direct"

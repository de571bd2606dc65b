"""Allowances of a hub: how long one waits, and many who wait for the same."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from sandpiper.hub.limits import Pace
from sandpiper.hub.pace import LONGEST_TURN, Allowance
from sandpiper.wire.hub.asks import Msg
from tests.unit.parlour import SETTINGS, Parlour


def test_one_who_waits_alone_waits_for_what_it_needs():
    allowance = Allowance(Pace(10, 50), 0.0)
    assert allowance.turn(0.0, 5) == 0.0
    now = 0.0
    assert allowance.take_up_to(now, 60) == 50
    for _ in range(100):
        wait = allowance.turn(now, 5)
        assert wait == pytest.approx(0.5, abs=1e-3)
        now += wait + 1e-6
        assert allowance.take_up_to(now, 9) == 5


def test_many_who_wait_have_their_turns_one_after_the_other():
    allowance = Allowance(Pace(100, 50), 0.0)
    assert allowance.take_up_to(0.0, 50) == 50
    turns = [allowance.turn(0.0, 5) for _ in range(20)]
    assert turns == pytest.approx([0.05 * (n + 1) for n in range(20)])
    assert all(later - one > 0.04 for one, later in itertools.pairwise(turns))


def test_whoever_asked_and_went_keeps_nobody_waiting_for_long():
    allowance = Allowance(Pace(10, 50), 0.0)
    allowance.take_up_to(0.0, 50)
    assert max(allowance.turn(0.0, 5) for _ in range(10_000)) <= LONGEST_TURN


def test_a_pace_that_is_slower_than_that_is_kept():
    allowance = Allowance(Pace(0.1, 5), 0.0)
    allowance.take_up_to(0.0, 5)
    assert allowance.turn(0.0, 5) == allowance.turn(0.0, 5) == pytest.approx(50)


def test_members_wait_for_their_room_and_nobody_else_does():
    parlour = Parlour(msgspec.structs.replace(SETTINGS, room_pace=Pace(1, 5)))
    alice, bob = parlour.visitor("alice"), parlour.visitor("bob", "", "dev")
    alice.send(*({"type": "msg", "text": f"{n}"} for n in range(9)))
    assert parlour.house.wait(alice.guest, Msg("x"), parlour.now) == pytest.approx(5)
    bob.send({"type": "leave", "room": "lobby"})
    assert parlour.house.wait(bob.guest, Msg("x"), parlour.now) < 1
    assert parlour.house.wait(bob.guest, Msg("x", "dev"), parlour.now) < 1


def test_lines_that_are_not_understood_count_for_their_address():
    parlour = Parlour(msgspec.structs.replace(SETTINGS, address_pace=Pace(1, 30)))
    first, second = parlour.visitor("", "192.0.2.1"), parlour.visitor("", "192.0.2.1")
    assert (first.send(b"what?\n" * 20), first.cut) == (20, "too_many_errors")
    assert (second.send(b"what?\n" * 20), second.cut) == (10, "")
    assert second.errors == ["not_json"] * 10

"""Passwords that wait to be hashed, and what waits behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.hub import locks
from sandpiper.hub.effects import Lock
from sandpiper.hub.locks import Locks
from sandpiper.wire.hub.asks import Join
from tests.unit.parlour import Parlour, Visitor

if TYPE_CHECKING:
    import pytest


def asked(visitor: Visitor, password: str = "x") -> Lock:
    return Lock(visitor.guest, Join("den", password), b"")


def test_each_address_has_its_turn_however_many_of_its_guests_wait():
    parlour = Parlour()
    many = [parlour.visitor("", "192.0.2.1") for _ in range(5)]
    one, tunnelled = parlour.visitor("", "192.0.2.2"), parlour.visitor("", "")
    waiting = Locks()
    for visitor in (*many, one, tunnelled):
        assert waiting.put(asked(visitor))
    many[1].leave()
    order = []
    while (lock := waiting.take()) is not None:
        order.append(lock.guest)
    assert order == [many[0].guest, one.guest, tunnelled.guest, *(visitor.guest for visitor in many[2:])]
    assert len(waiting) == 0


def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(locks, "MAX_LOCKS", 2)
    parlour, waiting = Parlour(), Locks()
    visitor = parlour.visitor()
    assert [waiting.put(asked(visitor)) for _ in range(3)] == [True, True, False]


def test_lines_behind_a_password_wait_for_the_answer():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "lobby")
    lines = [{"type": "join", "room": "den", "password": "swan"}, {"type": "msg", "room": "den", "text": "in"}]
    assert alice.send(*lines) == 1
    assert alice.send(lines[1]) == 0
    parlour.unlock()
    assert alice.send(lines[1]) == 1
    assert (alice.errors, alice.texts) == ([], ["in"])
    bob = parlour.visitor("bob", "", "lobby")
    bob.send({"type": "join", "room": "den", "password": "goose"})
    assert bob.send(lines[0]) == 0, "one password of a guest at a time"
    parlour.unlock()
    assert bob.errors == ["wrong_password"]
    assert bob.send(lines[0]) == 1

"""Rooms that the hub knows and does not hold: nothing of them is lost, and nobody takes them over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sandpiper.hub import limits
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import ROOM_RESTS, ROOMS_MADE
from tests.unit.parlour import SETTINGS, Parlour, Visitor
from tests.unit.test_hub_operators import ALICE, HUB, ROOT, prove

if TYPE_CHECKING:
    import pytest

FEW = msgspec.structs.replace(SETTINGS, rooms=4, operators=frozenset({ROOT.key}), id=HUB)


def crowd(parlour: Parlour, *rooms: str) -> Visitor:
    """Somebody who fills the hub: as many rooms as it holds beside the lobby."""
    return parlour.visitor("mallory", "", *rooms)


def vault(parlour: Parlour) -> tuple[Visitor, str]:
    """A room with a password that its maker, who has no key, has left; and its epoch."""
    alice = parlour.visitor("alice", "", "lobby")
    alice.ask("join", room="vault", password="swan")
    parlour.unlock()
    alice.say("secret", "vault", client_id="c1")
    alice.ask("leave", room="vault")
    return alice, alice.got("joined")[-1]["epoch"]


def test_a_locked_room_that_had_to_make_place_is_still_locked_and_the_same():
    parlour = Parlour(FEW)
    alice, epoch = vault(parlour)
    mallory = crowd(parlour, "r1", "r2", "r3")
    assert "vault" not in parlour.house.rooms
    mallory.ask("leave", room="r1")
    assert mallory.ask("join", room="vault")[0]["code"] == "locked"
    alice.ask("join", room="vault", password="swan", epoch=epoch, since=0)
    parlour.unlock()
    joined = alice.got("joined")[-1]
    assert (joined["epoch"], joined["seq"], joined["resumed"]) == (epoch, 1, True)
    assert [line["text"] for line in alice.ask("history", room="vault")[0]["messages"]] == ["secret"]
    for _ in range(2):  # the first one has the ids read that were used before
        alice.say("secret", "vault", client_id="c1")
    assert (alice.got("ack")[-1]["seq"], alice.texts) == (1, ["secret"]), "it was said before the room made place"


def test_operators_bans_and_slow_mode_come_back_with_their_room():
    parlour = Parlour(FEW)
    alice = parlour.visitor("alice", "", "lobby")
    prove(alice, ALICE)
    alice.ask("join", room="dev")
    alice.ask("ban", room="dev", nick="mallory")
    alice.ask("slowmode", room="dev", seconds=9)
    alice.ask("leave", room="dev")
    mallory = crowd(parlour, "r1", "r2", "r3")
    assert "dev" not in parlour.house.rooms
    mallory.ask("leave", room="r1")
    assert mallory.ask("join", room="dev")[0]["code"] == "banned"
    joined = alice.ask("join", room="dev")[0]
    assert (joined["operator"], joined["slowmode"]) == (True, 9)


def test_while_somebody_is_in_all_rooms_none_comes_back_and_none_is_made_anew():
    parlour = Parlour(FEW)
    alice, epoch = vault(parlour)
    mallory = crowd(parlour, "r1", "r2", "r3")
    assert alice.ask("join", room="vault", password="swan")[0]["code"] == "too_many_rooms"
    mallory.ask("leave", room="r2")
    alice.ask("join", room="vault", password="swan")
    parlour.unlock()
    assert alice.got("joined")[-1]["epoch"] == epoch


def test_a_room_that_makes_place_while_its_password_is_hashed_comes_back():
    parlour = Parlour(FEW)
    alice, epoch = vault(parlour)
    alice.ask("join", room="vault", password="swan")
    mallory = crowd(parlour, "r1", "r2", "r3")
    assert "vault" not in parlour.house.rooms
    mallory.ask("leave", room="r3")
    parlour.unlock()
    assert alice.got("joined")[-1]["epoch"] == epoch


def test_more_rooms_than_are_held_are_known_after_a_restart():
    first = Parlour(msgspec.structs.replace(FEW, rooms=20))
    _, epoch = vault(first)
    alice = first.visitor("ann", "", *(f"r{n}" for n in range(10)))
    for n in range(10):
        alice.say("x", f"r{n}")
    second = Parlour(FEW, first.history)
    mallory = crowd(second, "r1", "r2", "r3")
    assert [one["seq"] for one in mallory.got("joined")] == [1, 1, 1]
    mallory.ask("leave", room="r3")
    assert mallory.ask("join", room="vault")[0]["code"] == "locked"
    assert second.house.rooms["vault"].epoch == epoch


def test_a_room_that_somebody_is_kept_out_of_does_not_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MAX_KEPT_ROOMS", 6)
    parlour = Parlour(FEW)
    bob = parlour.visitor("bob", "", "lobby", "quiet")
    bob.ask("ban", room="quiet", nick="mallory")  # without a key, bob is its operator as long as he is there
    bob.ask("leave", room="quiet")
    mallory = parlour.visitor("mallory", "", "lobby")
    for number in range(12):
        mallory.ask("join", room=f"r{number}")
        mallory.say("x", f"r{number}")
        mallory.ask("leave", room=f"r{number}")
    assert "r0" not in parlour.house.shelf._kept, "others have gone"
    assert mallory.ask("join", room="quiet")[0]["code"] == "banned"


def test_when_no_more_are_kept_only_rooms_go_that_nobody_has_a_say_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MAX_KEPT_ROOMS", 6)
    parlour = Parlour(FEW)
    vault(parlour)
    bob = parlour.visitor("bob", "", "lobby", "one", "two")
    for room in ("one", "two"):
        bob.say("x", room)
        bob.ask("leave", room=room)
    mallory = crowd(parlour, "r1", "r2")  # the sixth: one of bob's makes place, the longest empty
    mallory.ask("join", room="r3")
    assert mallory.errors == []
    known = {*parlour.house.rooms, *parlour.house.shelf._kept}
    assert known == {"lobby", "vault", "two", "r1", "r2", "r3"}
    assert {room.name for room in parlour.history.load().rooms} == known, "the history forgets the same"
    for room in ("r1", "r2", "r3"):
        parlour.house.rooms[room].operators.add(ALICE.key)
        mallory.ask("leave", room=room)
    assert mallory.ask("join", room="r4")[0]["type"] == "joined", "there was one more that was nobody's"
    parlour.house.rooms["r4"].operators.add(ALICE.key)
    mallory.ask("leave", room="r4")
    assert mallory.ask("join", room="r5")[0]["code"] == "too_many_rooms"
    assert "vault" in {*parlour.house.rooms, *parlour.house.shelf._kept}


def test_a_room_that_nobody_is_in_gives_its_memory_back_after_a_while():
    parlour = Parlour(FEW)
    alice, epoch = vault(parlour)
    parlour.wait(ROOM_RESTS - 1)
    parlour.house.forget_addresses(parlour.now)
    assert "vault" in parlour.house.rooms
    parlour.wait(1)
    parlour.house.forget_addresses(parlour.now)
    assert set(parlour.house.rooms) == {"lobby"}
    alice.ask("join", room="vault", password="swan", epoch=epoch, since=0)
    parlour.unlock()
    joined = alice.got("joined")[-1]
    assert (joined["resumed"], joined["first"]) == (True, 2), "what was said is in the history"


def test_operators_of_the_hub_rule_rooms_that_are_not_held():
    parlour = Parlour(FEW)
    vault(parlour)
    crowd(parlour, "r1", "r2", "r3").ask("leave", room="r1")
    root = parlour.visitor("root", "", "lobby")
    prove(root, ROOT)
    assert root.ask("close", room="nowhere")[0]["code"] == "usage"
    root.ask("close", room="vault")
    assert root.ask("join", room="vault")[0]["seq"] == 0


def test_a_ban_is_kept_in_a_room_that_nothing_was_said_in():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "dev")
    alice.ask("ban", room="dev", nick="mallory")
    alice.ask("leave", room="dev")
    assert parlour.visitor("mallory", "", "dev").errors == ["banned"]


def test_an_address_makes_so_many_new_rooms_and_no_others():
    parlour = Parlour()
    made = 0
    guests = [parlour.visitor(f"guest{n}", "192.0.2.1", "lobby") for n in range(3)]
    for n in range(int(ROOMS_MADE.burst) + 5):
        made += guests[n % 3].ask("join", room=f"r{n}")[0]["type"] == "joined"
    assert made == ROOMS_MADE.burst
    assert guests[0].errors[-1] == "too_many_rooms"
    assert guests[0].ask("join", room="r1")[0]["type"] == "joined", "one that is there"
    assert parlour.visitor("other", "192.0.2.2", "mine").errors == []
    parlour.wait(1 / ROOMS_MADE.rate)
    assert guests[0].ask("join", room="later")[0]["type"] == "joined"


# ---------------------------------------------------------------- without a history


def test_a_history_in_memory_holds_so_much_in_all_and_forgets_what_was_silent_longest():
    history = MemoryHistory(all_bytes=20_000)
    parlour = Parlour(history=history)
    alice = parlour.visitor("alice", "", *(f"r{n}" for n in range(10)))
    for n in range(10):
        alice.say("x" * 4000, f"r{n}")
    assert history._size <= 20_000
    assert history._size == sum(history._sizes.values())
    assert alice.ask("history", room="r0")[0]["messages"] == []
    assert len(alice.ask("history", room="r9")[0]["messages"]) == 1
    again = parlour.visitor("bob", "", "r0")
    again.say("next", "r0")
    assert again.got("msg")[-1]["seq"] == 2
    numbers = {room.name: room.seq for room in history.load().rooms}
    assert (numbers["r0"], numbers["r1"]) == (2, 1), "they go on"


def test_a_history_in_memory_keeps_the_nicks_that_were_used_last(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sandpiper.hub.history.MAX_OWNED_NICKS", 2)
    history = MemoryHistory()
    for nick in ("a", "b", "a", "c"):
        history.own(nick, ALICE.key)
    assert history.load().nicks == (("a", ALICE.key), ("c", ALICE.key))

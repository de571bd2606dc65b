"""What a hub knows again after a restart beside its lines, and what a reload changes for those who are there."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from sandpiper.core.events import Now
from sandpiper.hub.history import Barred, KeptRoom, MemoryHistory, SentId
from sandpiper.hub.limits import MAX_BANS, Pace
from sandpiper.hub.sqlite import SqliteHistory
from sandpiper.hub.sqlite_schema import MIGRATIONS
from sandpiper.wire.hub.answers import Said
from sandpiper.wire.ids import PeerKey
from tests.unit.parlour import SETTINGS, WALL, Parlour
from tests.unit.test_hub_sqlite import DEV, Teller, opened

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.parlour import Visitor

BOSS = PeerKey(bytes(32))
RULED = msgspec.structs.replace(SETTINGS, operators=frozenset({BOSS}), loopback_counts=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def boss(parlour: Parlour) -> Visitor:
    visitor = parlour.visitor("boss", "", "dev")
    visitor.guest.key = BOSS
    return visitor


def restarted(parlour: Parlour, seconds: int) -> Parlour:
    """The same hub so many seconds later, on a machine whose own clock began anew."""
    return Parlour(RULED, parlour.history, now=Now(5.0, (WALL + seconds) * 1000))


# ---------------------------------------------------------------- bans and mutes


def test_bans_and_mutes_last_over_a_restart_as_long_as_they_were_meant_to():
    parlour = Parlour(RULED)
    parlour.visitor("bob", "10.0.0.1", "dev")
    parlour.visitor("carol", "10.0.0.2", "dev")
    ruler = boss(parlour)
    ruler.send({"type": "ban", "room": "dev", "nick": "bob", "seconds": 60})
    ruler.send({"type": "mute", "room": "dev", "nick": "carol", "seconds": 60})
    for on in (True, False):
        ruler.send({"type": "mute", "room": "dev", "nick": "boss", "on": on})
    ruler.send({"type": "ban", "nick": "mallory", "hub": True})
    for seconds, still in ((59, True), (61, False)):
        later = restarted(parlour, seconds)
        other_nick = later.visitor("robert", "10.0.0.1", "dev")
        assert ("banned" in other_nick.errors) is still, "by address"
        carol = later.visitor("carol", "10.0.0.3", "dev")
        carol.say("hello", "dev")
        assert ("muted" in carol.errors) is still
        ruler = boss(later)
        ruler.say("hello", "dev")
        assert ruler.errors == []
        assert later.house.bans.kept() == (Barred("mallory", 0, ("nick:mallory",)),), "for ever"


def test_whoever_was_let_in_again_may_come_in_after_a_restart():
    parlour = Parlour(RULED)
    ruler = boss(parlour)
    for hub in (True, False):
        for on in (True, False):
            ruler.send({"type": "ban", "room": "dev", "nick": "bob", "hub": hub, "on": on})
    later = restarted(parlour, 1)
    assert not later.house.bans
    assert later.visitor("bob", "", "dev").errors == []


def test_bans_that_have_ended_make_place_for_others():
    parlour = Parlour(RULED)
    ruler = boss(parlour)
    for number in range(MAX_BANS + 10):
        ruler.send({"type": "ban", "room": "dev", "nick": f"nick{number}", "seconds": 10})
    assert ruler.errors == ["full"] * 10
    parlour.wait(11)
    ruler.send({"type": "ban", "room": "dev", "nick": "bob", "seconds": 10})
    assert ruler.errors == ["full"] * 10
    assert [one.name for one in parlour.house.rooms["dev"].bans.kept()] == ["bob"]


async def test_bans_are_kept_in_the_file_until_there_are_none(path):
    bans: tuple[Barred, ...] = (Barred("bob", WALL, ("nick:bob", "address:10.0.0.1")), Barred("eve", 0, ("key:00",)))
    room = KeptRoom("dev", "e1", bans=bans, mutes=bans[:1])
    async with opened(path) as history:
        history.remember(room)
        history.bar(bans)
    for _ in range(2):
        history = SqliteHistory(path)
        stored = history.load()
        assert (stored.rooms, stored.bans) == ((room,), bans)
        history.remember(room._replace(bans=()))
        history.bar(())
        await history.aclose()
        room, bans = room._replace(bans=()), ()


async def test_a_file_of_the_first_version_is_brought_up_to_date_with_all_that_is_in_it(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(f"{MIGRATIONS[0]}\nPRAGMA user_version = 1;")
        db.execute("INSERT INTO rooms VALUES ('dev', 'e1', 'a topic', x'', x'', 7, 0)")
        db.execute("INSERT INTO lives (room, epoch, seq) VALUES ('dev', 'e1', 12)")
    async with opened(path) as history:
        Teller(history, DEV._replace(seq=12)).say("thirteen")
    history = SqliteHistory(path)
    assert history.load().rooms == (KeptRoom("dev", "e1", 13, "a topic", slowmode=7),)
    await history.aclose()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


# ---------------------------------------------------------------- messages that are sent again


def say(visitor: Visitor, client_id: str) -> int:
    return visitor.send({"type": "msg", "room": "dev", "text": client_id, "client_id": client_id})


def test_a_message_that_was_said_before_a_restart_is_not_said_again():
    parlour = Parlour(RULED)
    alice = parlour.visitor("alice", "", "dev")
    say(alice, "one")
    alice.say("without an id", "dev")
    say(alice, "two")
    later = restarted(parlour, 1)
    alice, bob = later.visitor("alice", "", "dev"), later.visitor("bob", "", "dev")
    alice.say("needs no id", "dev")
    assert bob.texts == ["needs no id"], "who has none does not wait"
    assert say(alice, "two") == 0, "it waits until it is known what was said"
    assert say(alice, "two") == 1
    say(alice, "three")
    say(bob, "two")
    assert [(line["client_id"], line["seq"]) for line in alice.got("ack")] == [("two", 3)]
    assert bob.texts == ["needs no id", "three", "two"]


async def test_the_newest_ids_of_senders_are_found_in_the_file(path):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        for number in range(1, 300):
            client_id = f"id{number}" if number % 3 else ""
            teller.put(Said("alice", f'{number} ,"client_id":"none"', 1, "dev", number, client_id))
        teller.retract(299)
        expected = [SentId("alice", f"id{number}", number) for number in range(1, 300) if number % 3]
        assert await history.sent_ids("dev", "e1", 50) == expected[-50:]
        assert await history.sent_ids("dev", "e1", 1000) == expected
        assert await history.sent_ids("dev", "e2", 1000) == []


def test_the_history_in_memory_finds_the_same_ids():
    history = MemoryHistory()
    parlour = Parlour(RULED, history)
    alice = parlour.visitor("alice", "", "dev")
    for number in range(10):
        say(alice, f"{number}")
    asked = history.sent_ids("dev", parlour.house.rooms["dev"].epoch, 3)
    with pytest.raises(StopIteration) as done, contextlib.closing(asked):
        asked.send(None)
    assert [one.client_id for one in done.value.value] == ["7", "8", "9"]


# ---------------------------------------------------------------- other settings while it runs


def test_other_rates_hold_for_those_who_are_there():
    slow = msgspec.structs.replace(SETTINGS, guest_pace=Pace(1, 20), loopback_counts=True)
    parlour = Parlour(slow)
    alice = parlour.visitor("alice", "", "dev")
    parlour.wait(20)
    lines = [{"type": "msg", "room": "dev", "text": "x"}] * 100
    assert alice.send(*lines) == 20
    parlour.house.reload(msgspec.structs.replace(slow, guest_pace=Pace(100, 50)), parlour.now)
    parlour.wait(1)
    assert alice.send(*lines) == 50
    parlour.wait(1)
    parlour.house.reload(slow, parlour.now)
    assert alice.send(*lines) == 20, "no more than it may have now"
    parlour.house.reload(msgspec.structs.replace(slow, room_pace=Pace(1, 5), guest_pace=Pace(1e9, 1e9)), parlour.now)
    parlour.wait(1)
    assert alice.send(*lines) == 5


def test_operators_are_those_that_are_named_now():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "dev")
    alice.guest.key = BOSS
    parlour.visitor("bob", "", "dev")
    kick = {"type": "kick", "nick": "bob", "hub": True}
    alice.send(kick)
    assert alice.errors == ["not_operator"]
    parlour.house.reload(RULED, parlour.now)
    alice.send(kick)
    assert parlour.house.guests.find("bob") is None
    parlour.house.reload(SETTINGS, parlour.now)
    alice.send(kick)
    assert alice.errors == ["not_operator"] * 2


def test_errors_and_strikes_are_counted():
    parlour = Parlour()
    alice = parlour.visitor("alice", "", "dev")
    alice.say("x", "nowhere")
    alice.send(*[b"no line\n"] * 3)
    counts = parlour.house.counts
    assert counts.strikes == 3
    assert dict(counts.errors.items()) == {"not_in_room": 1, "not_json": 3}


# ---------------------------------------------------------------- nicks that are used again


async def test_a_nick_that_is_used_often_does_not_push_others_out(path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sandpiper.hub.sqlite_rows.MAX_KEPT_NICKS", 3)
    async with opened(path) as history:
        for nick in ("a", "b", *["c", "b"] * 5):
            history.own(nick, BOSS)
    history = SqliteHistory(path)
    assert [nick for nick, _ in history.load().nicks] == ["a", "c", "b"], "the last used last"
    history.own("d", BOSS)
    await history.aclose()
    history = SqliteHistory(path)
    assert [nick for nick, _ in history.load().nicks] == ["c", "b", "d"]
    await history.aclose()
